// Random weights in the form of a file, as fast as a file is written.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "memory/dtype.h"

namespace sluice {

// Float types are drawn from the normal distribution. Quantised groups are drawn as they lie in a
// file: random values, and scales such that the decoded weights have the deviation asked for and a
// mean of 0.
class SyntheticWeights {
 public:
  // `mean` is for float types.
  SyntheticWeights(DType type, double mean, double deviation);

  // Fills `out` with whole groups. The same stream gives the same bytes. Pure: any thread.
  void fill(std::uint64_t stream, std::span<std::byte> out) const;

 private:
  void fill_floats(std::uint64_t stream, std::span<std::byte> out) const;
  void fill_groups(std::uint64_t stream, std::span<std::byte> out) const;
  void set_scales(double scale);
  double decoded_deviation() const;

  DType type_;
  std::vector<std::byte> values_;  // of a float type: quantiles of the distribution
  struct Scales {
    std::uint16_t scale;  // f16
    std::uint16_t min;
  };
  std::array<Scales, 256> scales_{};
};

}  // namespace sluice
