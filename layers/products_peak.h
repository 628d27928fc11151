// How fast the arithmetic that products are made of can be: the same instructions, on registers.
#pragma once

#include <cstddef>

#include "layers/products_isa.h"

namespace sluice {

// Independent sums, enough to hide an instruction's latency.
inline constexpr int kPeakSums = 12;

// Each sum takes `repeats` steps. Returns something that depends on all of them.
template <typename Isa>
struct Peaks {
  static float multiply_add(std::size_t repeats) {
    typename Isa::F sums[kPeakSums];
    for (auto& sum : sums) sum = Isa::broadcast(1.0f);
    const auto factor = Isa::broadcast(0.5f);
    for (std::size_t repeat = 0; repeat < repeats; ++repeat) {
#pragma GCC unroll 12
      for (auto& sum : sums) sum = Isa::multiply_add(sum, factor, factor);
    }
    auto total = sums[0];
    for (const auto& sum : sums) total = Isa::add(total, sum);
    return first_lane(total);
  }

  static float dot(std::size_t repeats) {
    typename Isa::I sums[kPeakSums];
    for (auto& sum : sums) sum = Isa::broadcast(1);
    const auto factor = Isa::broadcast(0x01010101);
    for (std::size_t repeat = 0; repeat < repeats; ++repeat) {
#pragma GCC unroll 12
      for (auto& sum : sums) sum = Isa::dot(sum, sum, factor);
    }
    auto total = sums[0];
    for (const auto& sum : sums) total = Isa::add(total, sum);
    return first_lane(Isa::to_float(total));
  }

  static ProductPeaks all() {
    constexpr double kLanes = kPeakSums * Isa::kLanes;
    return {{multiply_add, 2.0 * kLanes}, {dot, (Isa::kByteDot ? 8.0 : 4.0) * kLanes}, {}};
  }

 private:
  static float first_lane(typename Isa::F a) {
    float lanes[Isa::kLanes];
    Isa::store(lanes, a);
    return lanes[0];
  }
};

}  // namespace sluice
