// Quantising activations. Plain loops, which compilers turn into vectors: the operations are the
// same in every instruction set, and so are the results.
#pragma once

#include <cstring>

#include "layers/products.h"

namespace sluice {

// A template on Isa only so that each instruction set has its own.
template <typename Isa>
struct Quantiser {
  static constexpr float kLargest = 127.0f * 128 + 63;  // of the 15-bit integers
  static constexpr float kSmallest = 1e-30f;            // a group all below this is zeros

  static void quantise_group(const float* in, ActivationGroup& out) {
    std::uint32_t bits[kActivationGroup];
    std::memcpy(bits, in, sizeof(bits));
    std::uint32_t largest_bits = 0;  // magnitudes compare as their bits do, NaN above all
    for (const std::uint32_t value : bits) {
      const std::uint32_t magnitude = value & 0x7fffffff;
      largest_bits = magnitude > largest_bits ? magnitude : largest_bits;
    }
    const bool finite = largest_bits < 0x7f800000;
    const float largest = __builtin_bit_cast(float, largest_bits);
    const bool zero = !finite || largest < kSmallest;
    out.scale = !finite ? __builtin_nanf("") : zero ? 0.0f : largest / kLargest;
    const float inverse = zero ? 0.0f : kLargest / largest;

    // Adding 1.5 * 2^23 leaves the nearest integer in a float's low bits.
    constexpr float kRound = 12582912.0f;
    std::int32_t q[kActivationGroup];
    for (std::size_t i = 0; i < kActivationGroup; ++i) {
      const float value = finite ? in[i] : 0.0f;
      q[i] = __builtin_bit_cast(std::int32_t, value * inverse + kRound) -
             __builtin_bit_cast(std::int32_t, kRound);
    }
    for (std::size_t i = 0; i < kActivationGroup; ++i) {
      const std::int32_t high = (q[i] + 64) >> 7;
      out.high[i] = static_cast<std::int8_t>(high);
      out.low[i] = static_cast<std::int8_t>(q[i] - (high << 7));
    }
    for (int h = 0; h < 2; ++h) {
      std::int32_t sum = 0;
      for (int i = 0; i < 16; ++i) sum += q[16 * h + i];
      out.half_sums[h] = sum;
    }
    out.sum = out.half_sums[0] + out.half_sums[1];
  }

  static void run(const float* in, std::size_t tokens, std::size_t columns, ActivationGroup* out) {
    const std::size_t groups = tokens * (columns / kActivationGroup);
    for (std::size_t g = 0; g < groups; ++g) quantise_group(in + g * kActivationGroup, out[g]);
  }
};

}  // namespace sluice
