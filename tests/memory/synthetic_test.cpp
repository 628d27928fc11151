#include "memory/synthetic.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "memory/quant.h"

using namespace sluice;

TEST_CASE("synthetic weights: every type decodes to the mean and deviation asked for") {
  for (const DType type : kAllDTypes) {
    CAPTURE(dtype_info(type).name);
    constexpr std::size_t kValues = 256 * 1024;
    const double mean = is_quantised(type) ? 0.0 : 1.0;
    const double deviation = 1.0 / std::sqrt(8192.0);
    const SyntheticWeights weights(type, mean, deviation);
    std::vector<std::byte> bytes(row_bytes(type, kValues));
    weights.fill(7, bytes);
    std::vector<float> values(kValues);
    decode_row(type, bytes.data(), kValues, values.data());
    double sum = 0.0;
    double squares = 0.0;
    for (const double value : values) {
      sum += value - mean;
      squares += (value - mean) * (value - mean);
    }
    CHECK(std::abs(sum / kValues) < 0.02 * deviation);
    CHECK(std::sqrt(squares / kValues) == doctest::Approx(deviation).epsilon(0.05));
  }
}

TEST_CASE("synthetic weights: a group's minimum centres it") {
  for (const DType type : kAllDTypes) {
    CAPTURE(dtype_info(type).name);
    constexpr std::size_t kGroups = 1024;
    const std::size_t group = std::max<std::size_t>(dtype_info(type).group_values, 32);
    std::vector<std::byte> bytes(row_bytes(type, kGroups * group));
    SyntheticWeights(type, 0.0, 1.0).fill(9, bytes);
    std::vector<float> values(kGroups * group);
    decode_row(type, bytes.data(), values.size(), values.data());
    double squares = 0.0;
    for (std::size_t g = 0; g < kGroups; ++g) {
      double mean = 0.0;
      for (std::size_t i = 0; i < group; ++i) mean += values[g * group + i];
      mean /= static_cast<double>(group);
      squares += mean * mean;
    }
    CHECK(std::sqrt(squares / kGroups) < 0.35);
  }
}

TEST_CASE("synthetic weights: floats are normal") {
  constexpr std::size_t kValues = 1 << 18;
  std::vector<std::byte> bytes(kValues * sizeof(float));
  SyntheticWeights(DType::kF32, 0.0, 1.0).fill(3, bytes);
  std::vector<float> values(kValues);
  decode_row(DType::kF32, bytes.data(), kValues, values.data());
  for (const double z : {-2.0, -1.0, -0.25, 0.0, 1.5}) {
    CAPTURE(z);
    const auto below = std::count_if(values.begin(), values.end(), [&](float v) { return v < z; });
    CHECK(static_cast<double>(below) / kValues ==
          doctest::Approx(0.5 * std::erfc(-z / std::sqrt(2.0))).epsilon(0.02));
  }
}

TEST_CASE("synthetic weights: a stream gives the same bytes again, and no other stream's") {
  const SyntheticWeights weights(DType::kQ8_0, 0.0, 0.02);
  std::vector<std::byte> first(34 * 64), again(first), next(first);
  weights.fill(1, first);
  weights.fill(1, again);
  weights.fill(2, next);
  CHECK(first == again);
  std::size_t equal = 0;
  for (std::size_t i = 0; i + 8 < first.size(); ++i) {
    equal += std::search(next.begin(), next.end(), first.begin() + static_cast<long>(i),
                         first.begin() + static_cast<long>(i) + 8) != next.end();
  }
  CHECK(equal == 0);
}
