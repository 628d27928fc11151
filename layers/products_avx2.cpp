// Product kernels for AVX2 with FMA and F16C.
#include "layers/products_avx2.h"
#include "layers/products_kernels.h"
#include "layers/products_peak.h"

namespace sluice {

const ProductKernels kProductsAvx2 = {Converter<Avx2>::run, Kernels<Avx2>::panels,
                                      Peaks<Avx2>::all};

}  // namespace sluice
