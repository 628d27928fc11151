// Products of packed weights with the activations of one token to thousands.
//
//   out[t, r] (+)= sum over c of weights[r, c] * in[t, c]
//
// Bound by: host memory bandwidth for few tokens, the arithmetic units for many.
//
// Quantised weights are multiplied in integers, with activations in groups of 32 that are integers
// of one scale. Each output element is one f32 sum over the groups in the order of the columns,
// whatever the number of tokens, threads or panels in a call: results are identical to the bit.
// Float weights are multiplied in f32, one fused multiply-add a column, in the order of the
// columns; BF16 weights meet BF16 activations two columns at a time, in that order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "layers/activations.h"
#include "memory/dtype.h"
#include "memory/packed.h"

namespace sluice {

// Some panels of one matrix and the activations they meet. Borrows everything.
struct ProductArgs {
  DType type;
  const std::byte* panels;  // the first panel of this call
  std::size_t rows;         // output rows of this call; the last panel may be partly used
  std::size_t columns;
  ActivationForm form;  // one that activation_form gives for the type
  const std::byte* in;  // [tokens, columns] in that form, in rows of activation_row_bytes
  std::size_t tokens;
  float* out;  // [tokens, out_stride], written at columns [0, rows)
  std::size_t out_stride;
  bool accumulate;  // add to what is in out, rather than replace it
};

// Computes on the calling thread and the TBB workers of its arena. Several products that don't
// depend on each other are one loop: what one of them is too small to be split for, all are not.
void product(const ProductArgs& args);
void products(std::span<const ProductArgs> all);

}  // namespace sluice
