// Picking from a summary: what a row's highest logits prove of the whole row.
//
// Of logits that aren't listed one thing is known: none is above the last that is. So candidates
// above that one are the row's first, in order, as long as penalties raise none; and the sum bounds
// what all others weigh together.
#include <algorithm>
#include <cmath>
#include <limits>

#include "layers/sampler.h"

namespace sluice {
namespace {

// More than a summary's sum is off by. Its terms are f32's: of a row of 2^20 they hold the sum to
// 5e-6.
constexpr double kSumError = 1e-5;
// More than a weight is off by, rounded as it is.
constexpr double kWeightError = 1e-9;

bool may_raise(const SamplingOptions& o) {
  return o.repetition_penalty < 1.0f || o.presence_penalty < 0.0f || o.frequency_penalty < 0.0f;
}

}  // namespace

float sum_temperature(const SamplingOptions& options) {
  return options.top_k == 0 && options.top_p < 1.0f ? options.temperature : 0.0f;
}

std::optional<std::int32_t> Sampler::sample(const LogitsSummary& row) {
  const bool whole = row.count < static_cast<std::int32_t>(kTopLogits);  // nothing is left out
  if (!collect(row, whole)) return std::nullopt;
  std::int32_t token = candidates_.front().token;
  if (options_.temperature > 0.0f) {
    const std::optional<double> total = keep_of(row, whole);
    if (!total) return std::nullopt;
    token = draw_one(*total);
  }
  if (penalised_) count(token);
  return token;
}

// Those of the row's candidates that are known to be its first, in order; says whether there are
// any.
bool Sampler::collect(const LogitsSummary& row, bool whole) {
  candidates_.clear();
  candidates_.reserve(kTopLogits);
  if (penalised_) reserve(0);
  if (penalised_ && may_raise(options_) && !whole) return false;
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const float others = whole || !penalised_ ? kNone : row.logits[kTopLogits - 1];
  for (std::int32_t i = 0; i < row.count; ++i) {
    const float logit = penalise(row.logits[i], static_cast<std::size_t>(row.ids[i]));
    if (logit > others) candidates_.push_back({0.0, logit, row.ids[i]});
  }
  if (penalised_) std::sort(candidates_.begin(), candidates_.end(), comes_first);
  return !candidates_.empty();
}

// Leaves the candidates that may be drawn, in the order that the whole row's would have, and what
// they weigh; nothing, if others may have to be among them.
std::optional<double> Sampler::keep_of(const LogitsSummary& row, bool whole) {
  const std::size_t k = options_.top_k;
  if (k > 0) {
    if (k > candidates_.size() && !whole) return std::nullopt;
    keep_top_k();
    double total = weigh();
    if (options_.top_p < 1.0f) total = keep_top_p(total);
    return options_.min_p > 0.0f ? keep_min_p() : total;
  }
  if (options_.top_p < 1.0f) {
    if (penalised_) return std::nullopt;  // the sum is of logits as they were
    std::optional<double> total = keep_top_p_of(row.sum);
    if (total && options_.min_p > 0.0f) total = keep_min_p();
    return total;
  }
  if (!whole) {
    const double others = weight_of(row.logits[kTopLogits - 1], candidates_.front().logit);
    if (!(others < options_.min_p * (1.0 - kWeightError))) return std::nullopt;
  }
  std::sort(candidates_.begin(), candidates_.end(),
            [](const Candidate& a, const Candidate& b) { return a.token < b.token; });
  const double total = weigh();
  return options_.min_p > 0.0f ? keep_min_p() : total;
}

// As keep_top_p, where all weights' sum is known as nearly as `row_sum`: cuts only where no sum as
// near as that would have cut elsewhere.
std::optional<double> Sampler::keep_top_p_of(double row_sum) {
  if (!std::isfinite(row_sum)) return std::nullopt;
  const double least = row_sum * (1.0 - kSumError) * options_.top_p;
  const double most = row_sum * (1.0 + kSumError) * options_.top_p;
  weigh();
  double held = 0.0;
  for (std::size_t i = 0; i < candidates_.size(); ++i) {
    held += candidates_[i].weight;
    if (held < least) continue;
    if (held < most) return std::nullopt;
    candidates_.resize(i + 1);
    return held;
  }
  return std::nullopt;
}

}  // namespace sluice
