// Product kernels for AVX2 with VNNI, which processors without AVX-512 have.
#include "layers/products_avx2.h"
#include "layers/products_kernels.h"
#include "layers/products_peak.h"

namespace sluice {

namespace {

struct AvxVnni : Avx2 {
  static constexpr bool kByteDot = true;
  static constexpr int kTokens = 3;
  // sum + products of four unsigned bytes a lane with four signed ones.
  SLUICE_INLINE I dot(I sum, I weights, I activations) {
    return _mm256_dpbusd_avx_epi32(sum, weights, activations);
  }
};

}  // namespace

const ProductKernels kProductsAvxVnni = {Converter<AvxVnni>::run, Kernels<AvxVnni>::panels,
                                         Peaks<AvxVnni>::all};

}  // namespace sluice
