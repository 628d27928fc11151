// The registers of AVX-512 with VNNI: sixteen rows are one register.
#pragma once

// GCC 12's own intrinsics start from an undefined register, which it then warns of.
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include "layers/products_lanes.h"

namespace sluice {

// In each file that includes it its own: see products_lanes.h.
namespace {

struct Avx512 {
  static constexpr int kLanes = 16;
  static constexpr bool kByteDot = true;
  static constexpr bool kPairDot = false;
  static constexpr int kPanels = 2;
  static constexpr int kTokens = 4;
  static constexpr int kFewTokens = 4;
  static constexpr int kFloatPanels = 2;
  static constexpr int kFloatTokens = 12;
  using F = __m512;
  using I = __m512i;

  SLUICE_INLINE F broadcast(float x) { return _mm512_set1_ps(x); }
  SLUICE_INLINE F load_floats(const void* p) { return _mm512_loadu_ps(p); }
  SLUICE_INLINE F load_halves(const void* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  }
  SLUICE_INLINE void store(float* p, F a) { _mm512_storeu_ps(p, a); }
  SLUICE_INLINE F add(F a, F b) { return _mm512_add_ps(a, b); }
  SLUICE_INLINE F multiply(F a, F b) { return _mm512_mul_ps(a, b); }
  SLUICE_INLINE F multiply_add(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  SLUICE_INLINE F to_float(I a) { return _mm512_cvtepi32_ps(a); }
  SLUICE_INLINE F as_float(I a) { return _mm512_castsi512_ps(a); }

  SLUICE_INLINE I broadcast(std::int32_t x) { return _mm512_set1_epi32(x); }
  SLUICE_INLINE I load(const void* p) { return _mm512_loadu_si512(p); }
  SLUICE_INLINE I load_unsigned(const void* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  SLUICE_INLINE I load_signed(const void* p) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  SLUICE_INLINE I add(I a, I b) { return _mm512_add_epi32(a, b); }
  SLUICE_INLINE I subtract(I a, I b) { return _mm512_sub_epi32(a, b); }
  SLUICE_INLINE I bits_and(I a, I b) { return _mm512_and_si512(a, b); }
  SLUICE_INLINE I bits_xor(I a, I b) { return _mm512_xor_si512(a, b); }
  SLUICE_INLINE I bits_or(I a, I b) { return _mm512_or_si512(a, b); }
  template <int kBy>
  SLUICE_INLINE I shift_left(I a) {
    return _mm512_slli_epi32(a, kBy);
  }
  template <int kBy>
  SLUICE_INLINE I shift_right(I a) {
    return _mm512_srli_epi32(a, kBy);
  }
  template <int kBy>
  SLUICE_INLINE I shift_right_signed(I a) {
    return _mm512_srai_epi32(a, kBy);
  }
  SLUICE_INLINE I shift_right_by(I a, int by) { return _mm512_srl_epi32(a, _mm_cvtsi32_si128(by)); }
  SLUICE_INLINE I larger_unsigned(I a, I b) { return _mm512_max_epu32(a, b); }
  SLUICE_INLINE std::uint32_t largest_unsigned(I a) { return _mm512_reduce_max_epu32(a); }
  SLUICE_INLINE std::int32_t sum(I a) { return _mm512_reduce_add_epi32(a); }
  SLUICE_INLINE I nearest(F a) { return _mm512_cvtps_epi32(a); }  // ties to even
  SLUICE_INLINE void store_bytes(void* p, I a) {
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a));
  }
  // sum + products of four unsigned bytes a lane with four signed ones.
  SLUICE_INLINE I dot(I sum, I weights, I activations) {
    return _mm512_dpbusd_epi32(sum, weights, activations);
  }
};

}  // namespace

}  // namespace sluice
