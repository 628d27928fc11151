// Product kernels for AVX-512 with VNNI.
#if defined(__x86_64__)

#include "layers/products_avx512.h"
#include "layers/products_kernels.h"
#include "layers/products_peak.h"

namespace sluice {

const ProductKernels kProductsAvx512 = {"avx512-vnni", Converter<Avx512>::run,
                                        Kernels<Avx512>::panels, Peaks<Avx512>::all};

}  // namespace sluice

#endif
