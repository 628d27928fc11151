// The AVX-512 and AVX-VNNI instructions that layers/ uses, on plain vectors: its kernels for them
// compile and run on any machine with AVX2, slowly, to be tested there. Included before everything
// else. What each does: Intel's Intrinsics Guide, under the name it stands for.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>

// From here on, what depends on the instruction set takes it to be there.
#define __AVX512F__ 1

namespace sluice::emulated {

using F = __m512;   // 16 floats
using I = __m512i;  // 512 bits
using Words = std::int32_t __attribute__((vector_size(64)));
using UnsignedWords = std::uint32_t __attribute__((vector_size(64)));
using Bytes = std::int8_t __attribute__((vector_size(16)));
using UnsignedBytes = std::uint8_t __attribute__((vector_size(16)));

template <typename To, typename From>
inline To bits(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

template <typename Vector>
inline Vector load(const void* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
inline void store(float* to, F v) {
  std::memcpy(to, &v, sizeof v);
}

inline F broadcast(float x) {
  return x - F{};  // not F{} + x, which makes 0 of -0
}
inline I broadcast(int x) {
  return bits<I>(Words{} + x);
}

template <typename Half>
struct Halves {
  Half half[2];
};
// operation(half...) of the lower halves of vectors, and of the upper.
template <typename To, typename Half, typename Operation, typename... Vector>
inline To by_halves(const Operation& operation, const Vector&... v) {
  return bits<To>(Halves<decltype(operation(bits<Halves<Half>>(v).half[0]...))>{
      {operation(bits<Halves<Half>>(v).half[0]...), operation(bits<Halves<Half>>(v).half[1]...)}});
}

// On 32-bit lanes, which wrap around. Shifts are by less than 32, as layers/ has them.
template <typename Operation>
inline I on_words(I a, I b, const Operation& operation) {
  return bits<I>(operation(bits<UnsignedWords>(a), bits<UnsignedWords>(b)));
}
inline I shifted_left(I a, int by) {
  return bits<I>(bits<UnsignedWords>(a) << by);
}
inline I shifted_right(I a, int by) {
  return bits<I>(bits<UnsignedWords>(a) >> by);
}
inline I shifted_right_signed(I a, int by) {
  return bits<I>(bits<Words>(a) >> by);
}

inline F fused(F a, F b, F c) {
  return by_halves<F, __m256>([](__m256 x, __m256 y, __m256 z) { return _mm256_fmadd_ps(x, y, z); },
                              a, b, c);
}

inline F from_halves(__m256i halves) {
  return by_halves<F, __m128i>([](__m128i half) { return _mm256_cvtph_ps(half); }, halves);
}
inline F to_float(I a) {
  return __builtin_convertvector(bits<Words>(a), F);
}
inline I nearest(F a) {
  return by_halves<I, __m256>([](__m256 half) { return _mm256_cvtps_epi32(half); }, a);
}
template <typename Sixteen>
inline I widened(__m128i bytes) {
  return bits<I>(__builtin_convertvector(bits<Sixteen>(bytes), Words));
}
inline __m128i narrowed(I a) {
  return bits<__m128i>(__builtin_convertvector(bits<Words>(a), Bytes));
}

// The upper half of what is left with the lower, until one is left.
template <typename Value, typename Vector, typename Operation>
[[gnu::noinline]] Value reduced(Vector v, const Operation& operation) {
  Value values[sizeof(Vector) / sizeof(Value)];
  std::memcpy(values, &v, sizeof values);
  for (std::size_t half = std::size(values) / 2; half > 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) values[i] = operation(values[i], values[i + half]);
  }
  return values[0];
}
constexpr auto kSum = [](auto a, auto b) { return a + b; };
constexpr auto kLargest = [](auto a, auto b) { return a > b ? a : b; };

// sum + products of four unsigned bytes a lane with four signed ones: as 16 bits, those of even and
// those of odd bytes.
inline __m256i byte_dot(__m256i sum, __m256i weights, __m256i activations) {
  const __m256i even = _mm256_madd_epi16(_mm256_and_si256(weights, _mm256_set1_epi16(0xff)),
                                         _mm256_srai_epi16(_mm256_slli_epi16(activations, 8), 8));
  const __m256i odd =
      _mm256_madd_epi16(_mm256_srli_epi16(weights, 8), _mm256_srai_epi16(activations, 8));
  return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
}
inline I byte_dot(I sum, I weights, I activations) {
  return by_halves<I, __m256i>([](__m256i s, __m256i w, __m256i a) { return byte_dot(s, w, a); },
                               sum, weights, activations);
}

// sum + products of two bfloat16 a lane, the odd one first; what is denormal counts as zero.
inline F flushed(F a) {
  const Words magnitude = bits<Words>(a) & 0x7fffffff;
  return magnitude < 0x00800000 ? a * 0.0f : a;
}
template <typename Pairs>
inline F pair_dot(F sum, Pairs a, Pairs b) {
  const auto odd = [](Pairs pairs) { return flushed(bits<F>(bits<Words>(pairs) & ~0xffff)); };
  const auto even = [](Pairs pairs) { return flushed(bits<F>(bits<Words>(pairs) << 16)); };
  const F half = flushed(fused(odd(a), odd(b), flushed(sum)));
  return flushed(fused(even(a), even(b), half));
}

}  // namespace sluice::emulated

// GCC has them as macros where it doesn't optimise.
#undef _mm512_slli_epi32
#undef _mm512_srli_epi32
#undef _mm512_srai_epi32

#define _mm512_set1_ps(x) sluice::emulated::broadcast(static_cast<float>(x))
#define _mm512_set1_epi32(x) sluice::emulated::broadcast(static_cast<int>(x))
#define _mm512_loadu_ps(from) sluice::emulated::load<__m512>(from)
#define _mm512_loadu_si512(from) sluice::emulated::load<__m512i>(from)
#define _mm512_storeu_ps(to, a) sluice::emulated::store(to, a)
#define _mm512_castsi512_ps(a) sluice::emulated::bits<__m512>(a)

#define _mm512_add_ps(a, b) ((a) + (b))
#define _mm512_mul_ps(a, b) ((a) * (b))
#define _mm512_fmadd_ps(a, b, c) sluice::emulated::fused(a, b, c)
// Masks are of all lanes: layers/ has them for GCC, whose functions without one warn.
#define _mm512_maskz_max_ps(mask, a, b) ((a) > (b) ? (a) : (b))
#define _mm512_maskz_min_ps(mask, a, b) ((a) < (b) ? (a) : (b))
#define _mm512_reduce_add_ps(a) sluice::emulated::reduced<float>(a, sluice::emulated::kSum)
#define _mm512_reduce_max_ps(a) sluice::emulated::reduced<float>(a, sluice::emulated::kLargest)

#define _mm512_add_epi32(a, b) \
  sluice::emulated::on_words(a, b, [](auto x, auto y) { return x + y; })
#define _mm512_sub_epi32(a, b) \
  sluice::emulated::on_words(a, b, [](auto x, auto y) { return x - y; })
#define _mm512_and_si512(a, b) ((a) & (b))
#define _mm512_or_si512(a, b) ((a) | (b))
#define _mm512_xor_si512(a, b) ((a) ^ (b))
#define _mm512_max_epu32(a, b) \
  sluice::emulated::on_words(a, b, [](auto x, auto y) { return x > y ? x : y; })
#define _mm512_slli_epi32(a, by) sluice::emulated::shifted_left(a, by)
#define _mm512_srli_epi32(a, by) sluice::emulated::shifted_right(a, by)
#define _mm512_srai_epi32(a, by) sluice::emulated::shifted_right_signed(a, by)
#define _mm512_srl_epi32(a, by) sluice::emulated::shifted_right(a, _mm_cvtsi128_si32(by))
#define _mm512_reduce_add_epi32(a) \
  static_cast<int>(sluice::emulated::reduced<std::uint32_t>(a, sluice::emulated::kSum))
#define _mm512_reduce_max_epu32(a) \
  sluice::emulated::reduced<std::uint32_t>(a, sluice::emulated::kLargest)

#define _mm512_cvtps_epi32(a) sluice::emulated::nearest(a)
#define _mm512_cvtepi32_ps(a) sluice::emulated::to_float(a)
#define _mm512_maskz_cvtepi32_ps(mask, a) sluice::emulated::to_float(a)
#define _mm512_cvtph_ps(a) sluice::emulated::from_halves(a)
#define _mm512_maskz_cvtph_ps(mask, a) sluice::emulated::from_halves(a)
#define _mm512_cvtepu8_epi32(a) sluice::emulated::widened<sluice::emulated::UnsignedBytes>(a)
#define _mm512_cvtepi8_epi32(a) sluice::emulated::widened<sluice::emulated::Bytes>(a)
#define _mm512_maskz_cvtepi8_epi32(mask, a) sluice::emulated::widened<sluice::emulated::Bytes>(a)
#define _mm512_cvtepi32_epi8(a) sluice::emulated::narrowed(a)

#define _mm512_dpbusd_epi32(sum, w, a) sluice::emulated::byte_dot(sum, w, a)
#define _mm256_dpbusd_avx_epi32(sum, w, a) sluice::emulated::byte_dot(sum, w, a)
#define _mm512_dpbf16_ps(sum, a, b) sluice::emulated::pair_dot(sum, a, b)
