#include <cmath>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "layers/row_kernels.h"
#include "memory/quant.h"

namespace sluice::avx2 {
namespace {
#include "layers/row_kernels.inc"
}  // namespace

const RowKernels kRowKernels = {"avx2", norm, swiglu, rotate, store_token, attend};

}  // namespace sluice::avx2
