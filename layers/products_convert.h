// Converting activations to the forms of products: the operations are the same in every instruction
// set, and so are the results. Mostly plain loops, which compilers turn into vectors.
#pragma once

#include <cstring>

#include "layers/activations.h"
#include "layers/products_lanes.h"

namespace sluice {

// A template on Isa only so that each instruction set has its own.
template <typename Isa>
struct Converter {
  static constexpr float kSmallest = 1e-30f;  // a group all below this is zeros

  template <typename Group>  // of its integers
  static constexpr float kLargest = sizeof(Group) == sizeof(Int8Group) ? 127.0f : 127.0f * 128 + 63;

  // A group's scale, and what its values are multiplied by; from its largest magnitude, as bits.
  struct Scales {
    float scale;
    float inverse;
  };
  template <typename Group>
  SLUICE_INLINE Scales scales(std::uint32_t largest_bits) {
    if (largest_bits >= 0x7f800000) return {__builtin_nanf(""), 0.0f};
    const float largest = __builtin_bit_cast(float, largest_bits);
    if (largest < kSmallest) return {0.0f, 0.0f};
    return {largest / kLargest<Group>, kLargest<Group> / largest};
  }

  // Where sixteen lanes are one register.
  template <typename Group>
  SLUICE_INLINE void quantise_wide(const float* in, Group& out) {
    const auto magnitudes = Isa::broadcast(std::int32_t{0x7fffffff});
    const auto bits = [&](int h) { return Isa::bits_and(Isa::load(in + 16 * h), magnitudes); };
    const Scales s = scales<Group>(Isa::largest_unsigned(Isa::larger_unsigned(bits(0), bits(1))));
    out.scale = s.scale;
    for (int h = 0; h < 2; ++h) {
      const auto value = Isa::multiply(Isa::load_floats(in + 16 * h), Isa::broadcast(s.inverse));
      const auto q = s.scale == s.scale ? Isa::nearest(value) : Isa::broadcast(0);  // NaN: zeros
      if constexpr (sizeof(Group) == sizeof(Int8Group)) {
        Isa::store_bytes(out.high + 16 * h, q);
      } else {
        const auto high = Isa::template shift_right_signed<7>(Isa::add(q, Isa::broadcast(64)));
        Isa::store_bytes(out.high + 16 * h, high);
        Isa::store_bytes(out.low + 16 * h, Isa::subtract(q, Isa::template shift_left<7>(high)));
      }
      out.minus_half_sums[h] = -Isa::sum(q);
    }
    out.minus_sum = out.minus_half_sums[0] + out.minus_half_sums[1];
  }

  static void split(const std::int32_t (&q)[kActivationGroup], Int8Group& out) {
    for (std::size_t i = 0; i < kActivationGroup; ++i) out.high[i] = static_cast<std::int8_t>(q[i]);
  }
  static void split(const std::int32_t (&q)[kActivationGroup], Int16Group& out) {
    for (std::size_t i = 0; i < kActivationGroup; ++i) {
      const std::int32_t high = (q[i] + 64) >> 7;
      out.high[i] = static_cast<std::int8_t>(high);
      out.low[i] = static_cast<std::int8_t>(q[i] - (high << 7));
    }
  }

  template <typename Group>
  static void quantise(const float* in, Group& out) {
    std::uint32_t bits[kActivationGroup];
    std::memcpy(bits, in, sizeof(bits));
    std::uint32_t largest_bits = 0;  // magnitudes compare as their bits do, NaN above all
    for (const std::uint32_t value : bits) {
      const std::uint32_t magnitude = value & 0x7fffffff;
      largest_bits = magnitude > largest_bits ? magnitude : largest_bits;
    }
    const Scales s = scales<Group>(largest_bits);
    out.scale = s.scale;

    // Adding 1.5 * 2^23 leaves the nearest integer in a float's low bits.
    constexpr float kRound = 12582912.0f;
    std::int32_t q[kActivationGroup];
    for (std::size_t i = 0; i < kActivationGroup; ++i) {
      const float value = s.scale == s.scale ? in[i] : 0.0f;
      q[i] = __builtin_bit_cast(std::int32_t, value * s.inverse + kRound) -
             __builtin_bit_cast(std::int32_t, kRound);
    }
    split(q, out);
    for (int h = 0; h < 2; ++h) {
      std::int32_t sum = 0;
      for (int i = 0; i < 16; ++i) sum += q[16 * h + i];
      out.minus_half_sums[h] = -sum;
    }
    out.minus_sum = out.minus_half_sums[0] + out.minus_half_sums[1];
  }

  template <typename Group>
  static void quantise_all(const float* in, std::size_t count, std::byte* out) {
    auto* groups = reinterpret_cast<Group*>(out);
    for (std::size_t g = 0; g < count / kActivationGroup; ++g) {
      if constexpr (Isa::kLanes == 16) {
        quantise_wide(in + g * kActivationGroup, groups[g]);
      } else {
        quantise(in + g * kActivationGroup, groups[g]);
      }
    }
  }

  // To the nearest, ties to even. NaN keeps its sign and stays NaN.
  static void to_bf16(const float* in, std::size_t count, std::byte* out) {
    auto* halves = reinterpret_cast<std::uint16_t*>(out);
    for (std::size_t i = 0; i < count; ++i) {
      const auto bits = __builtin_bit_cast(std::uint32_t, in[i]);
      const std::uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
      const bool nan = (bits & 0x7fffffff) > 0x7f800000;
      halves[i] = static_cast<std::uint16_t>(nan ? bits >> 16 | 0x40 : rounded);
    }
  }

  static void run(ActivationForm form, const float* in, std::size_t count, std::byte* out) {
    switch (form) {
      case ActivationForm::kF32:
        return;
      case ActivationForm::kBf16:
        return to_bf16(in, count, out);
      case ActivationForm::kInt8:
        return quantise_all<Int8Group>(in, count, out);
      case ActivationForm::kInt16:
        return quantise_all<Int16Group>(in, count, out);
    }
  }
};

}  // namespace sluice
