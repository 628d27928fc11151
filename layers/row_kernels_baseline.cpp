#include <cmath>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "layers/row_kernels.h"
#include "memory/quant.h"

namespace sluice::baseline {
namespace {
#include "layers/row_kernels.inc"
}  // namespace

const RowKernels kRowKernels = {"baseline", norm, swiglu, rotate, store_token, attend};

}  // namespace sluice::baseline
