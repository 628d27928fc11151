// What AVX-512 with VNNI and BF16 has beyond the former: dot products of BF16 pairs.
#include "layers/products_avx512.h"
#include "layers/products_kernels.h"
#include "layers/products_peak.h"

namespace sluice {

namespace {

struct Avx512Bf16 : Avx512 {
  static constexpr bool kPairDot = true;
  SLUICE_INLINE F pair_dot(F sum, I weights, I activations) {
    return _mm512_dpbf16_ps(sum, (__m512bh)weights, (__m512bh)activations);
  }
};

void panels(const ProductArgs& args, std::size_t first, std::size_t last) {
  if (args.form != ActivationForm::kBf16) return kProductsAvx512.panels(args, first, last);
  Kernels<Avx512Bf16>::float_panels<DType::kBF16>(args, first, last);
}

ProductPeaks peaks() {
  ProductPeaks all = kProductsAvx512.peaks();
  all.bf16_dot = Peaks<Avx512Bf16>::pair_dots();
  return all;
}

}  // namespace

const ProductKernels kProductsAvx512Bf16 = {Converter<Avx512>::run, panels, peaks};

}  // namespace sluice
