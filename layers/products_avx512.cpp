// Product kernels for AVX-512 with VNNI: sixteen rows are one register.
#if defined(__x86_64__)

// GCC 12's own intrinsics start from an undefined register, which it then warns of.
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include "layers/products_kernels.h"
#include "layers/products_peak.h"

namespace sluice {

namespace {

struct Avx512 {
  static constexpr int kLanes = 16;
  static constexpr bool kByteDot = true;
  static constexpr int kPanels = 2;
  static constexpr int kTokens = 2;
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
  SLUICE_INLINE I bits_or(I a, I b) { return _mm512_or_si512(a, b); }
  template <int kBy>
  SLUICE_INLINE I shift_left(I a) {
    return _mm512_slli_epi32(a, kBy);
  }
  template <int kBy>
  SLUICE_INLINE I shift_right(I a) {
    return _mm512_srli_epi32(a, kBy);
  }
  SLUICE_INLINE I shift_right_by(I a, int by) { return _mm512_srl_epi32(a, _mm_cvtsi32_si128(by)); }
  // sum + products of four unsigned bytes a lane with four signed ones.
  SLUICE_INLINE I dot(I sum, I weights, I activations) {
    return _mm512_dpbusd_epi32(sum, weights, activations);
  }
};

constexpr int kBf16Sums = 24;  // its latency is longer

// For machines that have it, which AVX-512 with VNNI doesn't promise.
__attribute__((target("avx512bf16"))) float bf16_dot(std::size_t repeats) {
  __m512 sums[kBf16Sums];
  for (__m512& sum : sums) sum = _mm512_set1_ps(1.0f);
  const auto factor = (__m512bh)_mm512_set1_epi16(0x3f00);
  for (std::size_t repeat = 0; repeat < repeats; ++repeat) {
#pragma GCC unroll 24
    for (__m512& sum : sums) sum = _mm512_dpbf16_ps(sum, factor, factor);
  }
  __m512 total = sums[0];
  for (const __m512& sum : sums) total = _mm512_add_ps(total, sum);
  return _mm512_cvtss_f32(total);
}

ProductPeaks all_peaks() {
  ProductPeaks peaks = Peaks<Avx512>::all();
  if (__builtin_cpu_supports("avx512bf16")) peaks.bf16_dot = {bf16_dot, 4.0 * 16 * kBf16Sums};
  return peaks;
}

}  // namespace

const ProductKernels kProductsAvx512 = {"avx512-vnni", Quantiser<Avx512>::run,
                                        Kernels<Avx512>::panels, all_peaks};

}  // namespace sluice

#endif
