// Product kernels for any x86-64-v2 machine (SSE4.1): sixteen rows are four registers.
#include <smmintrin.h>

#include "layers/products_kernels.h"
#include "layers/products_peak.h"

namespace sluice {

namespace {

struct Baseline {
  static constexpr int kLanes = 4;
  static constexpr bool kByteDot = false;
  static constexpr bool kPairDot = false;
  static constexpr int kPanels = 1;
  static constexpr int kTokens = 1;
  static constexpr int kFewTokens = 2;  // whose sums stay in registers
  static constexpr int kFloatPanels = 1;
  static constexpr int kFloatTokens = 2;
  using F = __m128;
  using I = __m128i;

  SLUICE_INLINE F broadcast(float x) { return _mm_set1_ps(x); }
  SLUICE_INLINE F load_floats(const void* p) { return _mm_loadu_ps(static_cast<const float*>(p)); }
  SLUICE_INLINE F load_halves(const void* p) {
    // Exponent and fraction move to their places in f32; 2^112 makes up for the exponents' biases,
    // and gives subnormals their value.
    const I bits = _mm_cvtepu16_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
    const I magnitude = _mm_slli_epi32(_mm_and_si128(bits, broadcast(0x7fff)), 13);
    const I sign = _mm_slli_epi32(_mm_and_si128(bits, broadcast(0x8000)), 16);
    const I special =
        _mm_and_si128(_mm_cmpgt_epi32(magnitude, broadcast(0x0f7fffff)), broadcast(0x7f800000));
    const F value = _mm_mul_ps(_mm_castsi128_ps(magnitude), _mm_set1_ps(0x1p112f));
    return _mm_or_ps(value, _mm_castsi128_ps(_mm_or_si128(sign, special)));
  }
  SLUICE_INLINE void store(float* p, F a) { _mm_storeu_ps(p, a); }
  SLUICE_INLINE F add(F a, F b) { return _mm_add_ps(a, b); }
  SLUICE_INLINE F multiply(F a, F b) { return _mm_mul_ps(a, b); }
  SLUICE_INLINE F multiply_add(F a, F b, F c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
  SLUICE_INLINE F to_float(I a) { return _mm_cvtepi32_ps(a); }
  SLUICE_INLINE F as_float(I a) { return _mm_castsi128_ps(a); }

  SLUICE_INLINE I broadcast(std::int32_t x) { return _mm_set1_epi32(x); }
  SLUICE_INLINE I load(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
  SLUICE_INLINE I load_unsigned(const void* p) { return _mm_cvtepu8_epi32(four_bytes(p)); }
  SLUICE_INLINE I load_signed(const void* p) { return _mm_cvtepi8_epi32(four_bytes(p)); }
  SLUICE_INLINE I four_bytes(const void* p) {
    int bytes;
    std::memcpy(&bytes, p, sizeof(bytes));
    return _mm_cvtsi32_si128(bytes);
  }
  SLUICE_INLINE I add(I a, I b) { return _mm_add_epi32(a, b); }
  SLUICE_INLINE I subtract(I a, I b) { return _mm_sub_epi32(a, b); }
  SLUICE_INLINE I bits_and(I a, I b) { return _mm_and_si128(a, b); }
  SLUICE_INLINE I bits_or(I a, I b) { return _mm_or_si128(a, b); }
  template <int kBy>
  SLUICE_INLINE I shift_left(I a) {
    return _mm_slli_epi32(a, kBy);
  }
  template <int kBy>
  SLUICE_INLINE I shift_right(I a) {
    return _mm_srli_epi32(a, kBy);
  }
  SLUICE_INLINE I shift_right_by(I a, int by) { return _mm_srl_epi32(a, _mm_cvtsi32_si128(by)); }
  SLUICE_INLINE I bits_xor(I a, I b) { return _mm_xor_si128(a, b); }
  SLUICE_INLINE I multiply_pairs(I weights, I activations) {
    return _mm_maddubs_epi16(weights, activations);
  }
  SLUICE_INLINE I magnitudes(I a) { return _mm_abs_epi8(a); }
  SLUICE_INLINE I with_signs_of(I a, I signs) { return _mm_sign_epi8(a, signs); }
  SLUICE_INLINE I add_halves(I a, I b) { return _mm_add_epi16(a, b); }
  SLUICE_INLINE I widen_pairs(I a) { return _mm_madd_epi16(a, _mm_set1_epi16(1)); }
};

}  // namespace

const ProductKernels kProductsBaseline = {Converter<Baseline>::run, Kernels<Baseline>::panels,
                                          Peaks<Baseline>::all};

}  // namespace sluice
