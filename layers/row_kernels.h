// The CPU's kernels beside the products: one row or one block of queries each, serial. Compiled
// once for every instruction set (row_kernels_*.cpp) and chosen at start.
#pragma once

#include <cstddef>
#include <cstdint>

#include "memory/kv_pages.h"

namespace sluice {

// Attention of `tokens` consecutive tokens, `group` heads each, over one key/value head.
struct AttendBlock {
  const float* queries;      // of the first token's first head; scaled and rotated
  std::size_t query_stride;  // floats from token to token
  std::size_t tokens;
  std::size_t group;
  std::size_t first_position;
  const std::int32_t* pages;  // of the sequence, in order
  const std::byte* head;      // this key/value head's keys in page 0
  KvLayout layout;
  float* out;  // [tokens, group, head_dim] with out_stride floats from token to token
  std::size_t out_stride;
  float* scratch;  // [attend_scratch_floats(...)]
};
inline constexpr std::size_t kTileQueries = 6;   // whose sums are held in registers
inline constexpr std::size_t kStateFloats = 16;  // states are worked on as whole vectors
constexpr std::size_t attend_scratch_floats(const KvLayout& layout, std::size_t queries) {
  return kPageTokens * (layout.head_dim + layout.value_stride()) +   // keys and values
         kPageTokens * (queries + kTileQueries * layout.groups()) +  // weights
         queries * layout.value_stride() +                           // sums
         6 * align_up(queries, kStateFloats);                        // states
}

struct RowKernels {
  void (*norm)(const float* in, const float* weight, float epsilon, std::size_t columns,
               float* out);
  void (*swiglu)(const float* gate, const float* up, const float* gate_bias, const float* up_bias,
                 std::size_t columns, float* out);
  // Rotates [heads, head_dim] in place, the first rope_dims of each, and multiplies all by `scale`.
  void (*rotate)(float* rows, std::size_t heads, std::size_t head_dim, std::size_t rope_dims,
                 const float* rotations, float scale);
  // Stores one head's key and value of the token at `slot` of a page.
  void (*store)(const float* key, const float* value, std::size_t slot, const KvLayout& layout,
                std::byte* head);
  void (*attend)(const AttendBlock& block);
};

// Of the instruction set in use.
const RowKernels& row_kernels();

namespace baseline {
extern const RowKernels kRowKernels;
}
namespace avx2 {
extern const RowKernels kRowKernels;
}
namespace avx512 {
extern const RowKernels kRowKernels;
}

}  // namespace sluice
