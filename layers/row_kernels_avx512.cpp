#include <cmath>

// GCC 12's own intrinsics start from an undefined register, which it then warns of.
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include "layers/row_kernels.h"
#include "memory/quant.h"

namespace sluice::avx512 {
namespace {
#include "layers/row_attention.inc"
}  // namespace

const RowKernels kRowKernels = {norm, swiglu, rotate, store_token, attend};

}  // namespace sluice::avx512
