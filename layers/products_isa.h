// What products.cpp asks of the kernels of one instruction set.
#pragma once

#include "layers/products.h"

namespace sluice {

// A loop of one instruction on registers, and the multiplications and additions of one repeat.
struct ArithmeticPeak {
  float (*run)(std::size_t repeats) = nullptr;  // nullptr: there is no such instruction
  double operations = 0.0;
};
struct ProductPeaks {
  ArithmeticPeak multiply_add;
  ArithmeticPeak dot;                                       // of integers
  ArithmeticPeak bf16_dot;                                  // where the machine has it
  float (*read)(const std::byte* from, std::size_t bytes);  // a multiple of 256 bytes
};

// Compiled from one source, layers/products_kernels.h, once for each instruction set.
struct ProductKernels {
  void (*convert)(ActivationForm form, const float* in, std::size_t count, std::byte* out);
  // Panels [first, last) of `args` with all its tokens, on this thread.
  void (*panels)(const ProductArgs& args, std::size_t first, std::size_t last);
  ProductPeaks (*peaks)();
};

// Of the instruction set in use.
ProductPeaks product_peaks();

extern const ProductKernels kProductsBaseline;
extern const ProductKernels kProductsAvx2;
extern const ProductKernels kProductsAvxVnni;
extern const ProductKernels kProductsAvx512;
extern const ProductKernels kProductsAvx512Bf16;

}  // namespace sluice
