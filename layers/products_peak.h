// How fast what products are made of can be: the same instructions on registers, and reading.
#pragma once

#include <cstddef>

#include "layers/products_isa.h"
#include "layers/products_lanes.h"

namespace sluice {

// Independent sums, enough to hide an instruction's latency.
inline constexpr int kPeakSums = 12;
inline constexpr int kPairSums = 24;  // of dot products of pairs, whose latency is longer

// Each sum takes `repeats` steps, and begins with a number of its own: what is computed twice would
// be computed once. Returns something that depends on all of them.
template <typename Isa>
struct Peaks {
  static float multiply_add(std::size_t repeats) {
    typename Isa::F sums[kPeakSums];
    unrolled<kPeakSums>([&](auto i) { sums[i] = Isa::broadcast(static_cast<float>(repeats + i)); });
    const auto factor = Isa::broadcast(0.5f);
    for (std::size_t repeat = 0; repeat < repeats; ++repeat) {
      unrolled<kPeakSums>([&](auto i) { sums[i] = Isa::multiply_add(sums[i], factor, factor); });
    }
    auto total = sums[0];
    unrolled<kPeakSums>([&](auto i) { total = Isa::add(total, sums[i]); });
    return first_lane(total);
  }

  static float dot(std::size_t repeats) {
    typename Isa::I sums[kPeakSums];
    unrolled<kPeakSums>(
        [&](auto i) { sums[i] = Isa::broadcast(static_cast<std::int32_t>(repeats + i)); });
    const auto factor = Isa::broadcast(0x01010101);
    for (std::size_t repeat = 0; repeat < repeats; ++repeat) {
      unrolled<kPeakSums>([&](auto i) {
        if constexpr (Isa::kByteDot) {
          sums[i] = Isa::dot(sums[i], factor, factor);
        } else {  // what doesn't change from step to step would be computed once
          sums[i] = Isa::add_halves(Isa::multiply_pairs(sums[i], factor), factor);
        }
      });
    }
    auto total = sums[0];
    unrolled<kPeakSums>([&](auto i) { total = Isa::add(total, sums[i]); });
    return first_lane(Isa::to_float(total));
  }

  static float pair_dot(std::size_t repeats) {
    typename Isa::F sums[kPairSums];
    unrolled<kPairSums>([&](auto i) { sums[i] = Isa::broadcast(static_cast<float>(repeats + i)); });
    const auto factor = Isa::broadcast(0x3f003f00);
    for (std::size_t repeat = 0; repeat < repeats; ++repeat) {
      unrolled<kPairSums>([&](auto i) { sums[i] = Isa::pair_dot(sums[i], factor, factor); });
    }
    auto total = sums[0];
    unrolled<kPairSums>([&](auto i) { total = Isa::add(total, sums[i]); });
    return first_lane(total);
  }
  static ArithmeticPeak pair_dots() { return {pair_dot, 4.0 * kPairSums * Isa::kLanes}; }

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
    return {{multiply_add, 2.0 * kLanes}, {dot, 8.0 * kLanes}, {}, read};
  }

 private:
  static float first_lane(typename Isa::F a) {
    float lanes[Isa::kLanes];
    Isa::store(lanes, a);
    return lanes[0];
  }
};

}  // namespace sluice
