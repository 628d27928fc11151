// What both kernels of attention share: where their arguments lie.
#pragma once

#include "layers/cuda/kernel.h"
#include "layers/cuda/kernels.h"
#include "memory/units.h"

namespace sluice {

__device__ __forceinline__ float* output_row(const AttentionArgs& a, std::size_t token) {
  const std::size_t columns = a.heads * a.kv.layout.head_dim;
  return reinterpret_cast<float*>(a.out.row(ActivationForm::kF32, token, columns));
}

// The scales of a head's keys, or values, which end there.
__device__ __forceinline__ const __half* scales_before(const KvLayout& layout,
                                                       const std::byte* end) {
  return reinterpret_cast<const __half*>(end - layout.scales_bytes());
}

inline Touches attention_reads(const AttentionArgs& a) {
  const KvLayout& layout = a.kv.layout;
  const std::size_t row_floats = (a.heads + 2 * layout.kv_heads) * layout.head_dim;
  return {reads(a.qkv, a.tokens * row_floats * sizeof(float)),
          reads(a.blocks, a.block_count * sizeof(QueryBlock)),
          reads(a.page_table, a.table_pages * sizeof(std::int32_t)),
          reads(a.kv.layer, layout.layer_bytes())};
}

inline Touch attention_output(const AttentionArgs& a) {
  const std::size_t columns = a.heads * a.kv.layout.head_dim;
  return writes(a.out.row(ActivationForm::kF32, 0, columns),
                a.tokens * activation_row_bytes(ActivationForm::kF32, columns));
}

// Blocks of fewer queries than this are bound by reading keys and values. Which kernel takes a
// block depends on the block alone, so that a result doesn't depend on what else is in the call.
inline constexpr unsigned kLeastTileQueries = 16;
__host__ __device__ __forceinline__ bool on_tiles(const QueryBlock& block, unsigned group) {
  return static_cast<unsigned>(block.tokens) * group >= kLeastTileQueries;
}

// The blocks that are on_tiles, on the tensor cores, where pages are of halves or q8_0 and heads of
// 64 to 128 values; says whether they are.
bool attend_tiles(cudaStream_t stream, const AttentionArgs& args);

}  // namespace sluice
