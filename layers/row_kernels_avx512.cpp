#include <cmath>

#if defined(__x86_64__)
// GCC 12's own intrinsics start from an undefined register, which it then warns of.
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#endif

#include "layers/row_kernels.h"
#include "memory/quant.h"

namespace sluice::avx512 {
namespace {
#include "layers/row_kernels.inc"
}  // namespace

const RowKernels kRowKernels = {"avx512", norm, swiglu, rotate, store_token, attend};

}  // namespace sluice::avx512
