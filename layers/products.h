// Products of packed weights with the activations of one token to thousands.
//
//   out[t, r] (+)= sum over c of weights[r, c] * in[t, c]
//
// Bound by: host memory bandwidth for few tokens, the arithmetic units for many.
//
// Quantised weights are multiplied in integers. Activations are cut into groups of 32; a group is
// scale * q with q a 15-bit integer held as two signed bytes, q = 128 * high + low, so that a group
// of weights meets them in two exact 8-bit dot products. Each output element is one f32 sum over
// the groups in the order of the columns, whatever the number of tokens, threads or panels in a
// call: results are identical to the bit. Float weights are multiplied in f32, one fused
// multiply-add a column, in the order of the columns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "memory/dtype.h"
#include "memory/packed.h"

namespace sluice {

inline constexpr std::size_t kActivationGroup = 32;

// 32 consecutive activations of one token.
struct alignas(16) ActivationGroup {
  std::int8_t high[kActivationGroup];
  std::int8_t low[kActivationGroup];  // -64..63
  float scale;                        // value = scale * (128 * high + low)
  std::int32_t half_sums[2];          // of (128 * high + low) over columns 0..15 and 16..31
  std::int32_t sum;                   // and over all
};
static_assert(sizeof(ActivationGroup) == 80);

// Quantises in [tokens, columns] f32 to out [tokens, columns / 32]; columns % 32 == 0. Serial.
// Non-finite values make every output of their token NaN rather than anything plausible.
void quantise_activations(const float* in, std::size_t tokens, std::size_t columns,
                          ActivationGroup* out);

// Some panels of one matrix and the activations they meet. Borrows everything.
struct ProductArgs {
  DType type;
  const std::byte* panels;  // the first panel of this call
  std::size_t rows;         // output rows of this call; the last panel may be partly used
  std::size_t columns;
  const ActivationGroup* in;  // [tokens, columns / 32], for quantised types
  const float* in_f32;        // [tokens, columns], for float types
  std::size_t tokens;
  float* out;  // [tokens, out_stride], written at columns [0, rows)
  std::size_t out_stride;
  bool accumulate;  // add to what is in out, rather than replace it
};

// Computes on the calling thread and the TBB workers of its arena. Several products that don't
// depend on each other are one loop: what one of them is too small to be split for, all are not.
void product(const ProductArgs& args);
void products(std::span<const ProductArgs> all);

// The instruction sets compiled in and supported by this machine, best first ("avx512-vnni",
// "avx2", "baseline"). The best is used unless another is forced; results agree between them
// within rounding. Forcing is for tests and benchmarks: not while products run.
std::span<const std::string_view> product_isas();
std::string_view product_isa();
void force_product_isa(std::string_view name);  // Error{kUsage} if not supported here

}  // namespace sluice
