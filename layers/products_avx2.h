// The registers of AVX2 with FMA and F16C: sixteen rows are two registers.
#pragma once

#include <immintrin.h>

#include "layers/products_lanes.h"

namespace sluice {

// In each file that includes it its own: see products_lanes.h.
namespace {

struct Avx2 {
  static constexpr int kLanes = 8;
  static constexpr bool kByteDot = false;
  static constexpr bool kPairDot = false;
  static constexpr int kPanels = 1;
  static constexpr int kTokens = 2;
  static constexpr int kFewTokens = 4;  // whose sums stay in registers
  static constexpr int kFloatPanels = 1;
  static constexpr int kFloatTokens = 5;
  using F = __m256;
  using I = __m256i;

  SLUICE_INLINE F broadcast(float x) { return _mm256_set1_ps(x); }
  SLUICE_INLINE F load_floats(const void* p) {
    return _mm256_loadu_ps(static_cast<const float*>(p));
  }
  SLUICE_INLINE F load_halves(const void* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  SLUICE_INLINE void store(float* p, F a) { _mm256_storeu_ps(p, a); }
  SLUICE_INLINE F add(F a, F b) { return _mm256_add_ps(a, b); }
  SLUICE_INLINE F multiply(F a, F b) { return _mm256_mul_ps(a, b); }
  SLUICE_INLINE F multiply_add(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  SLUICE_INLINE F to_float(I a) { return _mm256_cvtepi32_ps(a); }
  SLUICE_INLINE F as_float(I a) { return _mm256_castsi256_ps(a); }

  SLUICE_INLINE I broadcast(std::int32_t x) { return _mm256_set1_epi32(x); }
  SLUICE_INLINE I load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  SLUICE_INLINE I load_unsigned(const void* p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
  }
  SLUICE_INLINE I load_signed(const void* p) {
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
  }
  SLUICE_INLINE I add(I a, I b) { return _mm256_add_epi32(a, b); }
  SLUICE_INLINE I subtract(I a, I b) { return _mm256_sub_epi32(a, b); }
  SLUICE_INLINE I bits_and(I a, I b) { return _mm256_and_si256(a, b); }
  SLUICE_INLINE I bits_or(I a, I b) { return _mm256_or_si256(a, b); }
  template <int kBy>
  SLUICE_INLINE I shift_left(I a) {
    return _mm256_slli_epi32(a, kBy);
  }
  template <int kBy>
  SLUICE_INLINE I shift_right(I a) {
    return _mm256_srli_epi32(a, kBy);
  }
  SLUICE_INLINE I shift_right_by(I a, int by) { return _mm256_srl_epi32(a, _mm_cvtsi32_si128(by)); }
  SLUICE_INLINE I bits_xor(I a, I b) { return _mm256_xor_si256(a, b); }
  SLUICE_INLINE I multiply_pairs(I weights, I activations) {
    return _mm256_maddubs_epi16(weights, activations);
  }
  SLUICE_INLINE I magnitudes(I a) { return _mm256_abs_epi8(a); }
  SLUICE_INLINE I with_signs_of(I a, I signs) { return _mm256_sign_epi8(a, signs); }
  SLUICE_INLINE I add_halves(I a, I b) { return _mm256_add_epi16(a, b); }
  SLUICE_INLINE I widen_pairs(I a) { return _mm256_madd_epi16(a, _mm256_set1_epi16(1)); }
};

}  // namespace

}  // namespace sluice
