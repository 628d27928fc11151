// Rotation of queries and keys, and what goes to pages of the cache.
#include <cmath>

#include "layers/cuda/kernels.h"
#include "layers/cuda/reduce.cuh"

namespace sluice {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpThreads;
static_assert(kKvGroupValues == kWarpThreads);

template <typename Value>
__device__ void store_value(Value* to, float value) {
  if constexpr (sizeof(Value) == 2) {
    *to = __float2half_rn(value);
  } else {
    *to = static_cast<Value>(value);
  }
}

// A warp brings a group of q8_0, a dimension a lane, zeros where there are none. As the CPU's
// store_groups has it, operation for operation.
__device__ void store_group(float value, std::size_t lanes, std::int8_t* to, __half* scale) {
  const unsigned lane = threadIdx.x % kWarpThreads;
  const float largest = __uint_as_float(warp_max(__float_as_uint(value) & 0x7fffffffu));
  __half_raw half = __float2half_rn(largest / 127.0f);
  if (largest > __half2float(half) * kKvMostSteps) ++half.x;
  const bool finite = half.x < 0x7c00;
  if (!finite) half.x = 0x7e00;
  const bool zeros = !finite || half.x == 0;
  const float steps = zeros ? 0.0f : value * (1.0f / __half2float(half));
  if (lane < lanes) *to = static_cast<std::int8_t>(__float2int_rn(steps));
  if (lane == 0) *scale = half;
}

// Of a token's keys and values, which lie rotated in `row` [2][kv_heads][head_dim]: a warp takes a
// group at a time.
__device__ void store_groups(const float* row, const KvLayout& layout, unsigned slot,
                             std::byte* page) {
  const auto dim = static_cast<unsigned>(layout.head_dim);
  const auto groups = static_cast<unsigned>(layout.groups());
  const auto kv_heads = static_cast<unsigned>(layout.kv_heads);
  const unsigned lane = threadIdx.x % kWarpThreads;
  for (unsigned i = threadIdx.x / kWarpThreads; i < 2 * kv_heads * groups; i += kWarps) {
    const unsigned head = i / groups;  // of keys, then of values
    const unsigned group = i % groups;
    const unsigned d = group * kWarpThreads + lane;
    const bool key = head < kv_heads;
    std::byte* keys = page + head % kv_heads * (layout.keys_bytes() + layout.values_bytes());
    std::byte* begin = key ? keys : keys + layout.keys_bytes();
    std::byte* end = begin + (key ? layout.keys_bytes() : layout.values_bytes());
    auto* to = reinterpret_cast<std::int8_t*>(begin);
    to += key ? d * kPageTokens + slot : slot * layout.value_stride() + d;
    auto* scales = reinterpret_cast<__half*>(end - layout.scales_bytes());
    store_group(d < dim ? row[head * dim + d] : 0.0f, dim - group * kWarpThreads, to,
                scales + group * kPageTokens + slot);
  }
}

// A block a token. Each thread takes pairs of neighbouring values of queries, then keys, then
// values; keys go to their page transposed. Of q8_0 they go there once all are rotated in place.
template <typename Value>
__global__ void __launch_bounds__(kThreads) rotate(RotateArgs a, float scale) {
  constexpr bool kGroups = sizeof(Value) == 1;
  const KvLayout& layout = a.kv.layout;
  const std::size_t token = blockIdx.x;
  const auto heads = static_cast<unsigned>(a.heads);
  const auto kv_heads = static_cast<unsigned>(layout.kv_heads);
  const auto dim = static_cast<unsigned>(layout.head_dim);
  const unsigned all_heads = heads + 2 * kv_heads;
  const std::size_t head_bytes = layout.keys_bytes() + layout.values_bytes();
  float* row = a.qkv + token * all_heads * dim;
  const float* rotations = a.places.rotations + token * a.rope_dims;
  std::byte* page =
      a.kv.layer + static_cast<std::size_t>(a.places.pages[token]) * layout.page_bytes();
  const unsigned slot = static_cast<unsigned>(a.places.positions[token]) % kPageTokens;
  const unsigned half = (dim + 1) / 2;
  for (unsigned i = threadIdx.x; i < all_heads * half; i += kThreads) {
    const unsigned head = i / half;
    const unsigned d = i % half * 2;
    const bool pair = d + 1 < dim;
    const bool query = head < heads;
    const bool key = !query && head < heads + kv_heads;
    const unsigned kv_head = query ? 0 : (head - heads) % kv_heads;
    const float* bias = query ? a.query_bias : key ? a.key_bias : a.value_bias;
    if (bias != nullptr) bias += (query ? head : kv_head) * dim + d;
    float* at = row + head * dim + d;
    float x = at[0] + (bias == nullptr ? 0.0f : bias[0]);
    float y = !pair ? 0.0f : at[1] + (bias == nullptr ? 0.0f : bias[1]);
    if ((query || key) && d + 1 < a.rope_dims) {
      const float turned = x * rotations[d] - y * rotations[d + 1];
      y = x * rotations[d + 1] + y * rotations[d];
      x = turned;
    }
    if (query || kGroups) {
      at[0] = query ? x * scale : x;
      if (pair) at[1] = query ? y * scale : y;
      continue;
    }
    std::byte* keys = page + kv_head * head_bytes;
    auto* to = reinterpret_cast<Value*>(key ? keys : keys + layout.keys_bytes());
    to += key ? d * kPageTokens + slot : slot * layout.value_stride() + d;
    store_value(to, x);
    if (pair) store_value(to + (key ? kPageTokens : 1), y);
  }
  if constexpr (kGroups) {
    __syncthreads();
    store_groups(row + heads * dim, layout, slot, page);
  }
  // Columns up to the stride are read along with the others.
  const auto gap = static_cast<unsigned>(layout.value_stride() - layout.head_dim);
  for (unsigned i = threadIdx.x; i < gap * kv_heads; i += kThreads) {
    std::byte* keys = page + i / gap * head_bytes;
    auto* values = reinterpret_cast<Value*>(keys + layout.keys_bytes());
    store_value(values + slot * layout.value_stride() + dim + i % gap, 0.0f);
  }
}

}  // namespace

void rotate_rows(cudaStream_t stream, const RotateArgs& args) {
  const KvLayout& layout = args.kv.layout;
  const std::size_t tokens = args.places.tokens;
  const std::size_t row_floats = (args.heads + 2 * layout.kv_heads) * layout.head_dim;
  const auto floats = [](const float* begin, std::size_t count) {
    return reads(begin, count * sizeof(float));
  };
  const Touches touches{writes(args.qkv, tokens * row_floats * sizeof(float)),
                        writes(args.kv.layer, layout.layer_bytes()),
                        reads(args.places.positions, tokens * sizeof(std::int32_t)),
                        reads(args.places.pages, tokens * sizeof(std::int32_t)),
                        floats(args.places.rotations, tokens * args.rope_dims),
                        floats(args.query_bias, args.heads * layout.head_dim),
                        floats(args.key_bias, layout.kv_heads * layout.head_dim),
                        floats(args.value_bias, layout.kv_heads * layout.head_dim)};
  const float scale = 1.0f / std::sqrt(static_cast<float>(layout.head_dim));
  const auto kernel = layout.type == KvType::kF32   ? rotate<float>
                      : layout.type == KvType::kF16 ? rotate<__half>
                                                    : rotate<std::int8_t>;
  launch("rotate", stream, {dim3(static_cast<unsigned>(tokens)), dim3(kThreads)}, touches, kernel,
         args, scale);
}

}  // namespace sluice
