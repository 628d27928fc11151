// What is mostly wanted of a row of logits, in a few numbers: they come from the device in its
// place.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "memory/units.h"

namespace sluice {

inline constexpr std::size_t kTopLogits = 64;

// What a row is asked for beside its highest logits.
struct LogitsQuery {
  std::int32_t target = -1;  // the token whose logit is wanted; -1: none
  float scale = 0.0f;        // of distances in the sum, 1 / temperature; 0: no sum is wanted
};

struct LogitsSummary {
  double sum;          // of exp(scale (logit - highest)) over the row, in terms of f32; NaN if any
                       // logit is, or the highest isn't finite; 0: none was wanted
  float highest;       // logit of the row, but for NaN
  float target;        // the target's logit; NaN: there is none
  std::int32_t count;  // of those below: kTopLogits unless the row has fewer, NaN and -inf left out
  float logits[kTopLogits];  // the highest, in order; of equals the lowest id comes first
  std::int32_t ids[kTopLogits];
};

// A GPU takes rows in parts of so many logits.
inline constexpr std::size_t kPartLogits = 4096;
constexpr std::size_t summary_parts(std::size_t vocab) {
  return ceil_div(vocab, kPartLogits);
}

// log softmax(logits)[target], of a summary at scale 1. NaN if any logit is.
inline double log_probability(const LogitsSummary& row) {
  return static_cast<double>(row.target) - row.highest - std::log(row.sum);
}

}  // namespace sluice
