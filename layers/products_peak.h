// How fast what products are made of can be: the same instructions on registers, and reading.
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
    for (auto& sum : sums) sum = Isa::broadcast(static_cast<float>(repeats));  // no constant
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
    for (auto& sum : sums) sum = Isa::broadcast(static_cast<std::int32_t>(repeats));
    const auto factor = Isa::broadcast(0x01010101);
    for (std::size_t repeat = 0; repeat < repeats; ++repeat) {
#pragma GCC unroll 12
      for (auto& sum : sums) {
        // What doesn't change from step to step would be computed once.
        sum = Isa::kByteDot ? Isa::dot(sum, factor, factor) : Isa::dot(factor, sum, factor);
      }
    }
    auto total = sums[0];
    for (const auto& sum : sums) total = Isa::add(total, sum);
    return first_lane(Isa::to_float(total));
  }

  static float pair_dot(std::size_t repeats) {
    constexpr int kSums = 24;  // its latency is longer
    typename Isa::F sums[kSums];
    for (auto& sum : sums) sum = Isa::broadcast(static_cast<float>(repeats));
    const auto factor = Isa::broadcast(0x3f003f00);
    for (std::size_t repeat = 0; repeat < repeats; ++repeat) {
#pragma GCC unroll 24
      for (auto& sum : sums) sum = Isa::pair_dot(sum, factor, factor);
    }
    auto total = sums[0];
    for (const auto& sum : sums) total = Isa::add(total, sum);
    return first_lane(total);
  }
  static ArithmeticPeak pair_dots() {
    return {pair_dot, 4.0 * 24 * Isa::kLanes};
  }

  // `bytes` from memory, a multiple of kStep, fetched ahead.
  static float read(const std::byte* from, std::size_t bytes) {
    constexpr std::size_t kStep = 256;
    constexpr std::size_t kAhead = 1024;
    constexpr std::size_t kRegisterBytes = 4 * Isa::kLanes;
    typename Isa::I sums[4];
    for (auto& sum : sums) sum = Isa::broadcast(0);
    for (std::size_t at = 0; at < bytes; at += kStep) {
      for (std::size_t line = 0; line < kStep; line += 64) {
        __builtin_prefetch(from + at + kAhead + line);
      }
#pragma GCC unroll 16
      for (std::size_t i = 0; i < kStep / kRegisterBytes; ++i) {
        sums[i % 4] = Isa::add(sums[i % 4], Isa::load(from + at + i * kRegisterBytes));
      }
    }
    const auto total = Isa::add(Isa::add(sums[0], sums[1]), Isa::add(sums[2], sums[3]));
    return first_lane(Isa::to_float(total));
  }

  static ProductPeaks all() {
    constexpr double kLanes = kPeakSums * Isa::kLanes;
    return {{multiply_add, 2.0 * kLanes}, {dot, (Isa::kByteDot ? 8.0 : 4.0) * kLanes}, {}, read};
  }

 private:
  static float first_lane(typename Isa::F a) {
    float lanes[Isa::kLanes];
    Isa::store(lanes, a);
    return lanes[0];
  }
};

}  // namespace sluice
