// Attention of many queries on the tensor cores: both products of a page in tiles of halves, summed
// in f32 (as FlashAttention-2 lays them out, Dao 2023).
//
// A block of threads takes kRows queries that share a key/value head, a warp sixteen of them. Keys
// and values of a page are brought to shared memory, of q8_0 multiplied out to halves; scores and
// weights never leave the registers: what a product of scores leaves in a lane is what the product
// with values takes from it.
#include "layers/cuda/attention.cuh"
#include "layers/cuda/page_loads.cuh"
#include "layers/cuda/reduce.cuh"

namespace sluice {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpThreads;
constexpr int kWarpRows = 16;
constexpr int kRows = kWarps * kWarpRows;
constexpr int kPageKeys = static_cast<int>(kPageTokens);
constexpr int kKeyTiles = kPageKeys / 8;
// A row and one load, so that eight rows of a column of squares lie in different banks.
constexpr int kKeyStride = kPageKeys / kValuesPerLoad + 1;
__device__ __forceinline__ unsigned pack(float low, float high) {
  const __half2 both = __floats2half2_rn(low, high);
  return *reinterpret_cast<const unsigned*>(&both);
}

// Over the four lanes that hold a row's columns.
__device__ __forceinline__ float row_max(float value) {
  value = fmaxf(value, __shfl_xor_sync(kWholeWarp, value, 1));
  return fmaxf(value, __shfl_xor_sync(kWholeWarp, value, 2));
}
__device__ __forceinline__ float row_sum(float value) {
  value += __shfl_xor_sync(kWholeWarp, value, 1);
  return value + __shfl_xor_sync(kWholeWarp, value, 2);
}

// Sixteen queries' scores, weights and sums. Of each array's four the first two are row g's, the
// others row g + 8's.
template <int kSteps>  // head_dim / 16
struct WarpRows {
  unsigned queries[kSteps][4];
  float scores[kKeyTiles][4];
  float sums[2 * kSteps][4];
  float maximum[2];
  float total[2];  // this lane's columns'

  __device__ void clear() {
    for (int h = 0; h < 2; ++h) {
      maximum[h] = -INFINITY;
      total[h] = 0.0f;
    }
#pragma unroll
    for (int n = 0; n < 2 * kSteps; ++n) {
      for (int i = 0; i < 4; ++i) sums[n][i] = 0.0f;
    }
  }

  // `row` and `other`: this lane's two, null where there are none.
  __device__ void load_queries(const float* row, const float* other) {
    const int t = static_cast<int>(threadIdx.x % 4);
    const auto pair = [&](const float* from, int d) {
      if (from == nullptr) return 0u;
      const float2 two = *reinterpret_cast<const float2*>(from + d);
      return pack(two.x, two.y);
    };
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      const int d = 16 * s + 2 * t;
      queries[s][0] = pair(row, d);
      queries[s][1] = pair(other, d);
      queries[s][2] = pair(row, d + 8);
      queries[s][3] = pair(other, d + 8);
    }
  }

  // The address that this lane gives for a [16, 16] square: rows from `row`, columns from `column`.
  static __device__ __forceinline__ const __half* square(const __half* begin, int stride, int row,
                                                         int column) {
    const int lane = static_cast<int>(threadIdx.x % kWarpThreads);
    return begin + (row + lane % 16) * stride + column + lane / 16 * 8;
  }

  __device__ void score(const __half* keys) {
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n) {
      for (int i = 0; i < 4; ++i) scores[n][i] = 0.0f;
    }
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
#pragma unroll
      for (int n = 0; n < kKeyTiles; n += 2) {
        unsigned b[4];
        load_transposed(b, square(keys, kKeyStride * kValuesPerLoad, 16 * s, 8 * n));
        mma_m16n8k16_f16(scores[n], queries[s], {b[0], b[1]});
        mma_m16n8k16_f16(scores[n + 1], queries[s], {b[2], b[3]});
      }
    }
  }

  // Only keys up to `last` and `other_last` of the page are seen by this lane's rows.
  __device__ void mask(int last, int other_last) {
    const int t = static_cast<int>(threadIdx.x % 4);
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int key = 8 * n + 2 * t + i % 2;
        if (key > (i < 2 ? last : other_last)) scores[n][i] = -INFINITY;
      }
    }
  }

  // Scores to weights e^(score - maximum); what was summed before is scaled to the new maximum.
  __device__ void soften() {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float largest = maximum[h];
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n) {
        largest = fmaxf(largest, fmaxf(scores[n][2 * h], scores[n][2 * h + 1]));
      }
      largest = row_max(largest);
      // The first page's first key is seen by all, so from there on the maximum is finite.
      const float kept = __expf(maximum[h] - largest);
      maximum[h] = largest;
      total[h] *= kept;
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
        for (int i = 2 * h; i < 2 * h + 2; ++i) {
          scores[n][i] = __expf(scores[n][i] - largest);
          total[h] += scores[n][i];
        }
      }
#pragma unroll
      for (int n = 0; n < 2 * kSteps; ++n) {
        sums[n][2 * h] *= kept;
        sums[n][2 * h + 1] *= kept;
      }
    }
  }

  __device__ void blend(const __half* values) {
    constexpr int kStride = 16 * kSteps + kValuesPerLoad;
#pragma unroll
    for (int j = 0; j < kKeyTiles; j += 2) {
      const unsigned weights[4] = {
          pack(scores[j][0], scores[j][1]), pack(scores[j][2], scores[j][3]),
          pack(scores[j + 1][0], scores[j + 1][1]), pack(scores[j + 1][2], scores[j + 1][3])};
#pragma unroll
      for (int n = 0; n < 2 * kSteps; n += 2) {
        unsigned b[4];
        load_transposed(b, square(values, kStride, 8 * j, 8 * n));
        mma_m16n8k16_f16(sums[n], weights, {b[0], b[1]});
        mma_m16n8k16_f16(sums[n + 1], weights, {b[2], b[3]});
      }
    }
  }

  // To `row` and `other`, null where there are none.
  __device__ void store(float* row, float* other) {
    const int t = static_cast<int>(threadIdx.x % 4);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float inverse = 1.0f / row_sum(total[h]);
      float* to = h == 0 ? row : other;
      if (to == nullptr) continue;
#pragma unroll
      for (int n = 0; n < 2 * kSteps; ++n) {
        const float2 two{sums[n][2 * h] * inverse, sums[n][2 * h + 1] * inverse};
        *reinterpret_cast<float2*>(to + 8 * n + 2 * t) = two;
      }
    }
  }
};

// A page's keys and values, each row `stride` loads apart; values of slots from `filled` on, which
// nobody has written, as zeros: they are multiplied by weights of zero.
template <int kDim, typename Value>
__device__ void load_page(const PageLoads<Value>& page, unsigned filled, int4* keys, int4* values) {
  constexpr unsigned kKeyLoads = kPageKeys / kValuesPerLoad;
  constexpr unsigned kValueLoads = kDim / kValuesPerLoad;
  for (unsigned i = threadIdx.x; i < kDim * kKeyLoads; i += kThreads) {
    keys[i / kKeyLoads * kKeyStride + i % kKeyLoads] = page.key(i);
  }
  for (unsigned i = threadIdx.x; i < kPageKeys * kValueLoads; i += kThreads) {
    const unsigned slot = i / kValueLoads;
    values[slot * (kValueLoads + 1) + i % kValueLoads] =
        slot < filled ? page.value(i, kValueLoads) : int4{0, 0, 0, 0};
  }
}

// Grid: [query blocks][kv heads]; the last blocks, which see most keys, come first.
template <int kSteps, typename Value>
__global__ void __launch_bounds__(kThreads, 2) attend(AttentionArgs a) {
  constexpr int kDim = 16 * kSteps;
  SLUICE_SHARED(int4, keys, [kDim * kKeyStride]);
  SLUICE_SHARED(int4, values, [kPageKeys * (kDim / kValuesPerLoad + 1)]);
  const KvLayout& layout = a.kv.layout;
  const auto heads = static_cast<unsigned>(a.heads);
  const auto kv_heads = static_cast<unsigned>(layout.kv_heads);
  const unsigned group = heads / kv_heads;
  const QueryBlock block = a.blocks[gridDim.x - 1 - blockIdx.x];
  if (!on_tiles(block, group)) return;
  const unsigned count = static_cast<unsigned>(block.tokens) * group;  // kRows at most
  const auto first_position = static_cast<unsigned>(block.first_position);
  const unsigned end = first_position + static_cast<unsigned>(block.tokens);

  const unsigned warp = threadIdx.x / kWarpThreads;
  const unsigned row = warp * kWarpRows + threadIdx.x % kWarpThreads / 4;
  // Rows past the last see what it sees, and are not stored.
  const auto position = [&](unsigned r) {
    return first_position + (r < count ? r : count - 1) / group;
  };
  const std::size_t row_floats = std::size_t{heads + 2 * kv_heads} * kDim;
  const auto token_of = [&](unsigned r) {
    return static_cast<std::size_t>(block.first_token) + r / group;
  };
  const auto head_of = [&](unsigned r) { return blockIdx.y * group + r % group; };
  const auto query = [&](unsigned r) -> const float* {
    if (r >= count) return nullptr;
    return a.qkv + token_of(r) * row_floats + std::size_t{head_of(r)} * kDim;
  };
  WarpRows<kSteps> rows;
  rows.clear();
  rows.load_queries(query(row), query(row + 8));

  const unsigned warp_first = position(warp * kWarpRows);
  const unsigned warp_last = position(warp * kWarpRows + kWarpRows - 1);
  const std::size_t head_at = blockIdx.y * (layout.keys_bytes() + layout.values_bytes());
  for (unsigned begin = 0; begin < end; begin += kPageKeys) {
    const auto page = static_cast<std::size_t>(a.page_table[block.first_page + begin / kPageKeys]);
    __syncthreads();
    const std::byte* where = a.kv.layer + page * layout.page_bytes() + head_at;
    load_page<kDim>(PageLoads<Value>(layout, where), end - begin, keys, values);
    __syncthreads();
    if (begin > warp_last) continue;
    rows.score(reinterpret_cast<const __half*>(keys));
    if (begin + kPageKeys - 1 > warp_first) {
      rows.mask(static_cast<int>(position(row)) - static_cast<int>(begin),
                static_cast<int>(position(row + 8)) - static_cast<int>(begin));
    }
    rows.soften();
    rows.blend(reinterpret_cast<const __half*>(values));
  }
  const auto output = [&](unsigned r) -> float* {
    return r < count ? output_row(a, token_of(r)) + head_of(r) * kDim : nullptr;
  };
  rows.store(output(row), output(row + 8));
}

// Null where heads are of other sizes.
template <typename Value>
void (*attend_kernel(std::size_t head_dim))(AttentionArgs) {
  switch (head_dim) {
    case 64:
      return attend<4, Value>;
    case 80:
      return attend<5, Value>;
    case 96:
      return attend<6, Value>;
    case 128:
      return attend<8, Value>;
    default:
      return nullptr;
  }
}

}  // namespace

bool attend_tiles(cudaStream_t stream, const AttentionArgs& args) {
  const KvLayout& layout = args.kv.layout;
  if (layout.type == KvType::kF32 || args.heads / layout.kv_heads > kRows) return false;
  const auto kernel = layout.type == KvType::kF16 ? attend_kernel<__half>(layout.head_dim)
                                                  : attend_kernel<std::int8_t>(layout.head_dim);
  if (kernel == nullptr) return false;
  const LaunchShape shape{
      dim3(static_cast<unsigned>(args.block_count), static_cast<unsigned>(layout.kv_heads)),
      dim3(kThreads)};
  Touches touches = attention_reads(args);
  touches.add(attention_output(args));
  launch("attention on tiles", stream, shape, touches, kernel, args);
  return true;
}

}  // namespace sluice
