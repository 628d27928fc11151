#include <cmath>

#include <immintrin.h>

#include "layers/row_kernels.h"
#include "memory/quant.h"

namespace sluice::avx2 {
namespace {
#include "layers/row_attention.inc"
}  // namespace

const RowKernels kRowKernels = {norm, swiglu, rotate, store_token, attend};

}  // namespace sluice::avx2
