// Rows of logits that are hard to summarise, and what their summary must be, in the plainest way.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "layers/logits_summary.h"
#include "tests/support/random_weights.h"

namespace sluice::testing {

inline constexpr std::size_t kRowKinds = 9;

inline std::vector<float> hard_row(std::size_t kind, std::size_t vocab, std::uint32_t seed) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  std::vector<float> row = random_floats(vocab, seed, 4.0f);
  for (std::size_t i = 0; i < vocab; ++i) {
    float& x = row[i];
    if (kind == 1) x = 2.5f;                                              // all equal
    if (kind == 2) x = std::round(x);                                     // many equals
    if (kind == 3) x = static_cast<float>(i) * 1e-3f - 20.0f;             // ascending
    if (kind == 4) x = i % 3 == seed % 3 ? x : -kInf;                     // most are -inf
    if (kind == 5) x = i % 7 == 0 ? std::nanf("") : x;                    // some are NaN
    if (kind == 6) x = i == vocab / 2 ? kInf : x;                         // the highest is inf
    if (kind == 7) x = i % 2 == 0 ? -kInf : std::nanf("");                // none can be picked
    if (kind == 8) x = i % 5 == 0 ? -0.0f : i % 5 == 1 ? 0.0f : -1e-40f;  // zeros of both signs
  }
  return row;
}

// `error`: of the sum, relative.
inline void check_summary(std::span<const float> row, const LogitsQuery& query, bool top,
                          const LogitsSummary& got, double error = 3e-6) {
  std::vector<std::int32_t> order;
  bool nan = false;
  float highest = -std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < row.size(); ++i) {
    nan |= std::isnan(row[i]);
    if (!(row[i] > -std::numeric_limits<float>::infinity())) continue;
    highest = std::max(highest, row[i]);
    order.push_back(static_cast<std::int32_t>(i));
  }
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return row[a] > row[b]; });
  order.resize(top ? std::min(order.size(), kTopLogits) : 0);
  CHECK(got.highest == highest);
  REQUIRE(got.count == static_cast<std::int32_t>(order.size()));
  CHECK(std::equal(order.begin(), order.end(), got.ids));
  bool same = true;
  for (std::size_t i = 0; i < order.size(); ++i) same &= got.logits[i] == row[order[i]];
  CHECK(same);
  const float target = query.target < 0 ? std::nanf("") : row[query.target];
  CHECK((std::isnan(target) ? std::isnan(got.target) : got.target == target));
  if (query.scale == 0.0f) {
    CHECK(got.sum == 0.0);
  } else if (nan || !std::isfinite(highest)) {
    CHECK(std::isnan(got.sum));
  } else {
    double sum = 0.0;
    for (const float x : row) sum += std::exp((static_cast<double>(x) - highest) * query.scale);
    CHECK(std::abs(got.sum / sum - 1.0) < error);
  }
}

}  // namespace sluice::testing
