#include "layers/row_kernels.h"

#include "layers/isa.h"

namespace sluice {

const RowKernels& row_kernels() {
  switch (isa()) {
    case Isa::kAvx512Bf16:
    case Isa::kAvx512:
      return avx512::kRowKernels;
    case Isa::kAvxVnni:
    case Isa::kAvx2:
      return avx2::kRowKernels;
    case Isa::kBaseline:
      break;
  }
  return baseline::kRowKernels;
}

}  // namespace sluice
