// Product kernels for AVX-512 with VNNI.
#include "layers/products_avx512.h"
#include "layers/products_kernels.h"
#include "layers/products_peak.h"

namespace sluice {

const ProductKernels kProductsAvx512 = {Converter<Avx512>::run, Kernels<Avx512>::panels,
                                        Peaks<Avx512>::all};

}  // namespace sluice
