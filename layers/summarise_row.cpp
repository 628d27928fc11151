#include "layers/summarise_row.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace sluice {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

struct Kept {
  float logit;
  std::int32_t id;
};

bool comes_first(const Kept& a, const Kept& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// Keeps what is above the least of the best kTopLogits so far: few are, after the first thousands,
// and the others are passed over in strides. An equal one comes later, and so behind.
void find_top(std::span<const float> logits, LogitsSummary& out) {
  constexpr std::size_t kStride = 32;
  std::array<Kept, 4 * kTopLogits> kept;
  std::size_t count = 0;
  float least = kNone;
  for (std::size_t begin = 0; begin < logits.size(); begin += kStride) {
    const std::size_t end = std::min(begin + kStride, logits.size());
    int above = 0;  // NaN is above nothing
    for (std::size_t i = begin; i < end; ++i) above |= static_cast<int>(logits[i] > least);
    if (above == 0) continue;
    for (std::size_t i = begin; i < end; ++i) {
      if (!(logits[i] > least)) continue;
      kept[count++] = {logits[i], static_cast<std::int32_t>(i)};
      if (count < kept.size()) continue;
      std::nth_element(kept.begin(), kept.begin() + kTopLogits - 1, kept.end(), comes_first);
      count = kTopLogits;
      least = kept[count - 1].logit;
    }
  }
  std::sort(kept.begin(), kept.begin() + count, comes_first);
  count = std::min(count, kTopLogits);
  out.count = static_cast<std::int32_t>(count);
  for (std::size_t i = 0; i < count; ++i) {
    out.logits[i] = kept[i].logit;
    out.ids[i] = kept[i].id;
  }
}

float highest_of(std::span<const float> logits) {
  float highest = kNone;
  for (const float logit : logits) highest = logit > highest ? logit : highest;
  return highest;
}

double sum_of(std::span<const float> logits, float highest, float scale) {
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp((logit - highest) * scale);
  return sum;
}

}  // namespace

void summarise_row(std::span<const float> logits, const LogitsQuery& query, bool top,
                   LogitsSummary& out) {
  out.count = 0;
  if (top) find_top(logits, out);
  out.highest = !top ? highest_of(logits) : out.count > 0 ? out.logits[0] : kNone;
  out.sum = query.scale == 0.0f ? 0.0 : sum_of(logits, out.highest, query.scale);
  out.target = query.target < 0 ? std::numeric_limits<float>::quiet_NaN()
                                : logits[static_cast<std::size_t>(query.target)];
}

}  // namespace sluice
