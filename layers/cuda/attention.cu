// Attention over pages: blocked online softmax (Milakov and Gimelshein 2018), in states that merge.
//
// A block of threads takes kQueries queries that share a key/value head: those of neighbouring
// tokens and of the heads of a group. Pages are met in chunks; each chunk gives a state of its own,
// and states are merged in order. Few queries over a long context have their chunks met apart.
#include <algorithm>
#include <cmath>

#include "layers/cuda/attention.cuh"
#include "layers/cuda/kernels.h"
#include "layers/cuda/reduce.cuh"
#include "memory/error.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarpThreads;
constexpr int kQueries = 16;
constexpr int kPageKeys = static_cast<int>(kPageTokens);
constexpr std::size_t kLargestHead = 512;
// Of a key's weights for all queries. Four keys apart, sixteen bytes meet in no bank twice.
constexpr int kWeightStride = kQueries + 4;

// A softmax's sum so far is e^maximum * sum.
struct Softmax {
  float maximum;
  float sum;
};

// What becomes of two states' parts in their merger.
struct Shares {
  float old;
  float fresh;
};

__device__ __forceinline__ Shares merge(Softmax& into, Softmax from) {
  const float maximum = fmaxf(into.maximum, from.maximum);
  const float old = into.sum == 0.0f ? 0.0f : __expf(into.maximum - maximum);
  const float fresh = from.sum == 0.0f ? 0.0f : __expf(from.maximum - maximum);
  into = {maximum, fmaf(from.sum, fresh, __fmul_rn(into.sum, old))};
  return {old, fresh};
}
__device__ __forceinline__ float merge_values(float into, float from, Shares shares) {
  return fmaf(from, shares.fresh, __fmul_rn(into, shares.old));
}

__device__ __forceinline__ float to_float(float value) {
  return value;
}
__device__ __forceinline__ float to_float(__half value) {
  return __half2float(value);
}
__device__ __forceinline__ float to_float(std::int8_t value) {
  return static_cast<float>(value);
}

template <typename Value>
inline constexpr bool kQuantised = sizeof(Value) == 1;

// What a block of threads shares beside its queries [head_dim][kQueries].
struct Shared {
  float weights[kPageKeys][kWeightStride];  // scores at first
  float kept[kQueries];                     // of what was summed before this page
  Softmax chunk[kQueries];
  Softmax total[kQueries];
};

// Which queries, and what they see.
struct Queries {
  unsigned first;  // in the block of queries: token * group + head
  unsigned count;  // up to kQueries; 0: nothing to do
  unsigned group;
  unsigned first_position;
  unsigned end;  // keys that the last one sees

  __device__ unsigned position(unsigned query) const {
    return first_position + (first + query) / group;
  }
};

__device__ Queries choose_queries(const QueryBlock& block, unsigned group, unsigned part) {
  Queries q{};
  q.group = group;
  q.first = part * kQueries;
  const unsigned all = static_cast<unsigned>(block.tokens) * group;
  if (q.first >= all) return q;
  q.count = all - q.first < kQueries ? all - q.first : kQueries;
  q.first_position = static_cast<unsigned>(block.first_position);
  q.end = q.position(q.count - 1) + 1;
  return q;
}

// Scores of all queries against a page's keys [head_dim][64], into shared.weights. A thread takes a
// key and half the queries. What is quantised is multiplied by its scale at once, which is exact.
template <typename Value>
__device__ void score(const Value* keys, const __half* scales, unsigned head_dim,
                      const float* queries, const Queries& q, unsigned page_begin, Shared& shared) {
  constexpr int kMine = kQueries * kPageKeys / kThreads;
  const unsigned key = threadIdx.x % kPageKeys;
  const unsigned mine = threadIdx.x / kPageKeys * kMine;
  float sums[kMine] = {};
  float scale = 1.0f;
  for (unsigned d = 0; d < head_dim; ++d) {
    float value = to_float(keys[d * kPageKeys + key]);
    if constexpr (kQuantised<Value>) {
      if (d % kKvGroupValues == 0) {
        scale = __half2float(scales[d / kKvGroupValues * kPageKeys + key]);
      }
      value *= scale;
    }
#pragma unroll
    for (int i = 0; i < kMine; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(queries + d * kQueries + mine + i);
      sums[i] = fmaf(four.x, value, sums[i]);
      sums[i + 1] = fmaf(four.y, value, sums[i + 1]);
      sums[i + 2] = fmaf(four.z, value, sums[i + 2]);
      sums[i + 3] = fmaf(four.w, value, sums[i + 3]);
    }
  }
#pragma unroll
  for (int i = 0; i < kMine; ++i) {
    const bool seen = mine + i < q.count && page_begin + key <= q.position(mine + i);
    shared.weights[key][mine + i] = seen ? sums[i] : -INFINITY;
  }
}

// Scores to weights e^(score - maximum), and the chunk's state brought up to date. A warp takes
// some of the queries, a lane two keys.
__device__ void soften(Shared& shared) {
  constexpr int kMine = kQueries / kWarps;
  const unsigned lane = threadIdx.x % kWarpThreads;
  const unsigned warp = threadIdx.x / kWarpThreads;
  for (unsigned i = 0; i < kMine; ++i) {
    const unsigned query = warp * kMine + i;
    float& one = shared.weights[lane][query];
    float& other = shared.weights[lane + kWarpThreads][query];
    const Softmax before = shared.chunk[query];
    const float maximum = fmaxf(before.maximum, warp_max(fmaxf(one, other)));
    const bool none = maximum == -INFINITY;
    one = none ? 0.0f : __expf(one - maximum);
    other = none ? 0.0f : __expf(other - maximum);
    const float sum = warp_sum(one + other);
    const float kept = before.sum == 0.0f ? 0.0f : __expf(before.maximum - maximum);
    __syncwarp();
    if (lane != 0) continue;
    shared.kept[query] = kept;
    shared.chunk[query] = {maximum, fmaf(before.sum, kept, sum)};
  }
}

// A thread's columns of the sums of values: kPerThread of them, kColumnThreads apart, for
// kMine queries.
template <int kColumnThreads, int kPerThread>
struct Columns {
  static constexpr int kMine = kQueries * kColumnThreads / kThreads;
  float sums[kMine][kPerThread];

  static __device__ unsigned column(int i) {
    return threadIdx.x % kColumnThreads + i * kColumnThreads;
  }
  static __device__ unsigned first_query() { return threadIdx.x / kColumnThreads * kMine; }

  __device__ void clear() {
#pragma unroll
    for (int q = 0; q < kMine; ++q) {
#pragma unroll
      for (int i = 0; i < kPerThread; ++i) sums[q][i] = 0.0f;
    }
  }

  // sums = kept * sums + weights * values, over a page's first `count` keys.
  template <typename Value>
  __device__ void add(const Value* values, const __half* scales, unsigned stride, unsigned count,
                      const Shared& shared) {
    const unsigned first = first_query();
#pragma unroll
    for (int q = 0; q < kMine; ++q) {
#pragma unroll
      for (int i = 0; i < kPerThread; ++i) sums[q][i] *= shared.kept[first + q];
    }
    for (unsigned key = 0; key < count; ++key) {
      float value[kPerThread];
#pragma unroll
      for (int i = 0; i < kPerThread; ++i) {
        value[i] = column(i) < stride ? to_float(values[key * stride + column(i)]) : 0.0f;
        if constexpr (kQuantised<Value>) {
          if (column(i) >= stride) continue;
          value[i] *= __half2float(scales[column(i) / kKvGroupValues * kPageKeys + key]);
        }
      }
#pragma unroll
      for (int q = 0; q < kMine; q += 4) {
        const float4 four = *reinterpret_cast<const float4*>(&shared.weights[key][first + q]);
#pragma unroll
        for (int i = 0; i < kPerThread; ++i) {
          sums[q][i] = fmaf(four.x, value[i], sums[q][i]);
          sums[q + 1][i] = fmaf(four.y, value[i], sums[q + 1][i]);
          sums[q + 2][i] = fmaf(four.z, value[i], sums[q + 2][i]);
          sums[q + 3][i] = fmaf(four.w, value[i], sums[q + 3][i]);
        }
      }
    }
  }
};

// What a kernel works on, beside AttentionArgs.
struct Work {
  unsigned parts;   // blocks of threads for a block of queries
  unsigned chunks;  // met apart: blocks of threads along z; 1 where each meets all of them
  float* states;    // null where states stay inside
  bool skip_tiles;  // blocks that are on_tiles are done already
};

// Brings a head's part of a page to shared memory: all its loads are under way at once, where
// meeting it where it lies would have a few.
__device__ void load_page(const std::byte* from, std::size_t bytes, std::byte* to) {
  const auto count = static_cast<unsigned>(bytes / sizeof(int4));
#pragma unroll 8
  for (unsigned i = threadIdx.x; i < count; i += kThreads) {
    reinterpret_cast<int4*>(to)[i] = __ldg(reinterpret_cast<const int4*>(from) + i);
  }
}

// Grid: [query blocks x parts][kv heads][chunks]. Dynamic shared memory: queries, then the page if
// it is brought there.
template <typename Value, int kColumnThreads, int kPerThread, bool kPageInShared>
__global__ void __launch_bounds__(kThreads) attend(AttentionArgs a, Work work) {
  using Mine = Columns<kColumnThreads, kPerThread>;
  const KvLayout& layout = a.kv.layout;
  const auto dim = static_cast<unsigned>(layout.head_dim);
  const auto stride = static_cast<unsigned>(layout.value_stride());
  const auto kv_heads = static_cast<unsigned>(layout.kv_heads);
  const auto heads = static_cast<unsigned>(a.heads);
  const unsigned group = heads / kv_heads;
  const QueryBlock block = a.blocks[blockIdx.x / work.parts];
  if (work.skip_tiles && on_tiles(block, group)) return;
  const Queries q = choose_queries(block, group, blockIdx.x % work.parts);
  if (q.count == 0) return;

  SLUICE_SHARED(Shared, shared, [1]);
  float* queries = dynamic_shared<float>();
  const std::size_t row_floats = std::size_t{heads + 2 * kv_heads} * dim;
  const auto head_of = [&](unsigned query) {
    return blockIdx.y * group + (q.first + query) % group;
  };
  const auto token_of = [&](unsigned query) {
    return static_cast<unsigned>(block.first_token) + (q.first + query) / group;
  };
  for (unsigned i = threadIdx.x; i < kQueries * dim; i += kThreads) {
    const unsigned query = i / dim;
    const unsigned d = i % dim;
    const bool there = query < q.count;
    queries[d * kQueries + query] =
        there ? a.qkv[token_of(query) * row_floats + head_of(query) * dim + d] : 0.0f;
  }

  const unsigned page_count = (q.end + kPageKeys - 1) / kPageKeys;
  const unsigned chunk_count = (page_count + kChunkPages - 1) / kChunkPages;
  const bool apart = work.states != nullptr;
  const unsigned first_chunk = apart ? blockIdx.z : 0;
  const unsigned last_chunk = apart ? blockIdx.z + 1 : chunk_count;
  const std::size_t head_bytes = layout.keys_bytes() + layout.values_bytes();
  auto* near = reinterpret_cast<std::byte*>(queries + kQueries * dim);
  if (threadIdx.x < kQueries) shared[0].total[threadIdx.x] = {-INFINITY, 0.0f};
  Mine total;
  total.clear();
  Mine chunk;
  for (unsigned c = first_chunk; c < last_chunk; ++c) {
    chunk.clear();
    if (threadIdx.x < kQueries) shared[0].chunk[threadIdx.x] = {-INFINITY, 0.0f};
    const unsigned first_page = c * kChunkPages;
    const unsigned last_page = min(first_page + static_cast<unsigned>(kChunkPages), page_count);
    for (unsigned p = first_page; p < last_page; ++p) {
      const auto page = static_cast<std::size_t>(a.page_table[block.first_page + p]);
      const std::byte* where = a.kv.layer + page * layout.page_bytes() + blockIdx.y * head_bytes;
      const unsigned page_begin = p * kPageKeys;
      __syncthreads();
      if constexpr (kPageInShared) {
        load_page(where, head_bytes, near);
        __syncthreads();
        where = near;
      }
      const auto* keys = reinterpret_cast<const Value*>(where);
      const auto* values = reinterpret_cast<const Value*>(where + layout.keys_bytes());
      score(keys, scales_before(layout, where + layout.keys_bytes()), dim, queries, q, page_begin,
            shared[0]);
      __syncthreads();
      soften(shared[0]);
      __syncthreads();
      chunk.add(values, scales_before(layout, where + head_bytes), stride,
                min(q.end - page_begin, static_cast<unsigned>(kPageKeys)), shared[0]);
    }
    if (apart) break;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < Mine::kMine; ++i) {
      const unsigned query = Mine::first_query() + i;
      Softmax state = shared[0].total[query];
      const Shares shares = merge(state, shared[0].chunk[query]);
#pragma unroll
      for (int n = 0; n < kPerThread; ++n) {
        total.sums[i][n] = merge_values(total.sums[i][n], chunk.sums[i][n], shares);
      }
    }
    __syncthreads();
    if (threadIdx.x < kQueries) merge(shared[0].total[threadIdx.x], shared[0].chunk[threadIdx.x]);
  }
  __syncthreads();

#pragma unroll
  for (int i = 0; i < Mine::kMine; ++i) {
    const unsigned query = Mine::first_query() + i;
    if (query >= q.count) continue;
    const std::size_t token = token_of(query);
    const unsigned head = head_of(query);
    if (apart) {
      float* state = work.states + ((token * work.chunks + blockIdx.z) * heads + head) * (dim + 2);
      const Softmax softmax = shared[0].chunk[query];
#pragma unroll
      for (int n = 0; n < kPerThread; ++n) {
        if (Mine::column(n) < dim) state[Mine::column(n)] = chunk.sums[i][n];
      }
      if (threadIdx.x % kColumnThreads == 0) {
        state[dim] = softmax.maximum;
        state[dim + 1] = softmax.sum;
      }
      continue;
    }
    float* out = output_row(a, token) + head * dim;
    const float inverse = 1.0f / shared[0].total[query].sum;
#pragma unroll
    for (int n = 0; n < kPerThread; ++n) {
      if (Mine::column(n) < dim) out[Mine::column(n)] = total.sums[i][n] * inverse;
    }
  }
}

// Merges what chunks met apart have left. Grid: [tokens][heads].
__global__ void __launch_bounds__(kThreads) merge_states(AttentionArgs a, Work work) {
  const auto dim = static_cast<unsigned>(a.kv.layout.head_dim);
  const std::size_t token = blockIdx.x;
  const unsigned head = blockIdx.y;
  float* out = output_row(a, token) + head * dim;
  for (unsigned d = threadIdx.x; d < dim; d += kThreads) {
    Softmax total{-INFINITY, 0.0f};
    float sum = 0.0f;
    for (unsigned c = 0; c < work.chunks; ++c) {
      const float* state = work.states + ((token * work.chunks + c) * a.heads + head) * (dim + 2);
      const Shares shares = merge(total, {state[dim], state[dim + 1]});
      sum = merge_values(sum, state[d], shares);
    }
    out[d] = sum * (1.0f / total.sum);
  }
}

template <typename Value>
auto attend_kernel(std::size_t head_dim) {
  constexpr bool kNear = sizeof(Value) <= 2;
  if (head_dim <= 64) return attend<Value, 64, 1, kNear>;
  if (head_dim <= 128) return attend<Value, 128, 1, kNear>;
  if (head_dim <= 256) return attend<Value, 128, 2, false>;
  return attend<Value, 128, 4, false>;
}

std::size_t shared_bytes(const KvLayout& layout) {
  const bool near = layout.type != KvType::kF32 && layout.head_dim <= 128;
  return kQueries * layout.head_dim * sizeof(float) +
         (near ? layout.keys_bytes() + layout.values_bytes() : 0);
}

}  // namespace

void attend_pages(cudaStream_t stream, const AttentionArgs& args, const AttentionStates& states,
                  std::size_t processors, bool halves) {
  const KvLayout& layout = args.kv.layout;
  if (layout.head_dim > kLargestHead) {
    throw Error(ErrorKind::kUsage,
                text("heads of ", layout.head_dim, " values are more than the ", kLargestHead,
                     " that attention on a GPU takes; use --device cpu"));
  }
  const std::size_t group = args.heads / layout.kv_heads;
  const bool single = args.block_count == args.tokens;  // each block is a token
  const bool all_on_tiles = group >= kLeastTileQueries;
  const bool tiles = halves && (all_on_tiles || !single) && attend_tiles(stream, args);
  if (tiles && all_on_tiles) return;
  const std::size_t tokens = single ? 1 : gpu_query_block_tokens(group);
  const std::size_t parts = ceil_div(tokens * group, static_cast<std::size_t>(kQueries));
  const std::size_t chunks = ceil_div(args.keys, kChunkPages * kPageTokens);
  const std::size_t blocks = args.block_count * parts * layout.kv_heads;
  // What is on tiles leaves no states to merge.
  const bool apart = !tiles && chunks > 1 && blocks < 2 * processors &&
                     args.tokens * chunks <= states.capacity_rows;
  const Work work{static_cast<unsigned>(parts), apart ? static_cast<unsigned>(chunks) : 1,
                  apart ? states.begin : nullptr, tiles};
  const std::size_t state_bytes =
      args.tokens * chunks * attention_state_floats(args.heads, layout.head_dim) * sizeof(float);
  Touches touches = attention_reads(args);
  touches.add(apart ? writes(states.begin, state_bytes) : attention_output(args));
  const LaunchShape shape{
      dim3(static_cast<unsigned>(args.block_count * parts), static_cast<unsigned>(layout.kv_heads),
           static_cast<unsigned>(work.chunks)),
      dim3(kThreads), shared_bytes(layout)};
  const auto kernel = layout.type == KvType::kF32   ? attend_kernel<float>(layout.head_dim)
                      : layout.type == KvType::kF16 ? attend_kernel<__half>(layout.head_dim)
                                                    : attend_kernel<std::int8_t>(layout.head_dim);
  launch("attention", stream, shape, touches, kernel, args, work);
  if (!apart) return;
  launch(
      "merge of states", stream,
      {dim3(static_cast<unsigned>(args.tokens), static_cast<unsigned>(args.heads)), dim3(kThreads)},
      Touches{reads(states.begin, state_bytes), attention_output(args)}, merge_states, args, work);
}

}  // namespace sluice
