// Choosing the next token from logits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "layers/logits_summary.h"

namespace sluice {

// Applied in this order: penalties, then temperature, top-k, top-p, min-p on what is left.
// Candidates are drawn from in the order of likelihood with top-k or top-p, else in that of their
// ids.
struct SamplingOptions {
  float temperature = 0.0f;         // 0 is greedy: the lowest id of the highest logit
  std::size_t top_k = 0;            // 0: off
  float top_p = 1.0f;               // 1: off
  float min_p = 0.0f;               // 0: off
  float repetition_penalty = 1.0f;  // divides positive and multiplies negative logits; 1: off
  float presence_penalty = 0.0f;    // subtracted once from a token that has occurred
  float frequency_penalty = 0.0f;   // subtracted once per occurrence
  std::size_t penalty_tokens = 64;  // how far back occurrences are counted; 0: all (2^20 at most)
  std::uint64_t seed = 0;
};

// Throws Error{kUsage} naming the option, its value and the range accepted.
void check(const SamplingOptions& options);

// At which a summary must have its sum for these options; 0: it needs none.
float sum_temperature(const SamplingOptions& options);

// One sequence's sampler: the same seed and logits give the same tokens, on any machine. Keeps its
// buffers, so that it allocates nothing after the first rows. Not thread-safe.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options);
  // Tokens already there (the prompt) count for the penalties.
  void accept(std::span<const std::int32_t> tokens);
  // Picks and accepts a token. `logits` [vocab] is not changed. A NaN logit is never picked; if all
  // are NaN or -inf, throws Error{kInternal}.
  std::int32_t sample(std::span<const float> logits);
  // Picks and accepts the token that it would pick from the row itself, to the same draw; or picks
  // none and changes nothing, where the summary doesn't prove which one that is. The summary has
  // the highest logits, and its sum at sum_temperature().
  std::optional<std::int32_t> sample(const LogitsSummary& row);

 private:
  struct Candidate {
    double weight;  // relative to the likeliest candidate's, which is 1
    float logit;
    std::int32_t token;
  };
  static bool comes_first(const Candidate& a, const Candidate& b);

  void count(std::int32_t token);
  void reserve(std::size_t vocab);
  float penalise(float logit, std::size_t token) const;
  std::int32_t pick_greedy(std::span<const float> logits) const;
  std::int32_t draw(std::span<const float> logits);
  std::int32_t draw_one(double total);
  double weight_of(float logit, float top) const;
  bool collect(const LogitsSummary& row, bool whole);
  std::optional<double> keep_of(const LogitsSummary& row, bool whole);
  std::optional<double> keep_top_p_of(double row_sum);
  void collect(std::span<const float> logits);
  void keep_top_k();
  double weigh();
  double keep_top_p(double total);
  double keep_min_p();

  SamplingOptions options_;
  bool penalised_ = false;
  std::uint64_t random_[4];            // xoshiro256**, seeded by splitmix64
  std::vector<std::int32_t> history_;  // the last penalty_tokens tokens, a ring
  std::size_t oldest_ = 0;
  std::vector<std::uint32_t> counts_;  // [vocab], occurrences within penalty_tokens
  std::vector<Candidate> candidates_;
};

}  // namespace sluice
