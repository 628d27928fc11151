#include "layers/sampler.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <limits>

#include "memory/error.h"

namespace sluice {

namespace {

constexpr float kPenaltyLimit = 100.0f;
constexpr std::size_t kMaxPenaltyTokens = std::size_t{1} << 20;

void check_range(const char* name, float value, float low, float high, bool low_allowed) {
  if (value <= high && (low_allowed ? value >= low : value > low)) return;
  throw Error(ErrorKind::kUsage,
              text(name, " is ", value, "; it must be ", low_allowed ? "from " : "above ", low,
                   low_allowed ? " to " : " and at most ", high));
}

std::uint64_t splitmix64(std::uint64_t& state) {
  state += 0x9e3779b97f4a7c15u;
  std::uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

std::uint64_t xoshiro256(std::uint64_t (&s)[4]) {
  const std::uint64_t result = std::rotl(s[1] * 5, 7) * 9;
  const std::uint64_t t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = std::rotl(s[3], 45);
  return result;
}

// exp(x) for x <= 0, to about 1e-16 relative. The library's exp differs in the last bit between
// machines, and one bit can move a token; this uses only operations that IEEE 754 fixes.
double exp_below_zero(double x) {
  if (!(x > -700.0)) return 0.0;
  const double k = std::floor(x * 1.4426950408889634 + 0.5);
  const double r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10;
  double sum = 1.0 / 479001600;  // the Taylor series to r^12, |r| <= ln(2) / 2
  for (const double factor : {1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
                              1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 1.0 / 2, 1.0, 1.0}) {
    sum = sum * r + factor;
  }
  return sum * std::bit_cast<double>(static_cast<std::uint64_t>(1023 + static_cast<int>(k)) << 52);
}

[[noreturn]] void throw_no_candidate(std::size_t vocab) {
  throw Error(ErrorKind::kInternal,
              text("no token can be picked: all ", vocab, " logits are NaN or -infinity"));
}

bool is_candidate(float logit) {
  return logit > -std::numeric_limits<float>::infinity();  // false for NaN too
}

}  // namespace

void check(const SamplingOptions& options) {
  check_range("temperature", options.temperature, 0.0f, 100.0f, true);
  check_range("top_p", options.top_p, 0.0f, 1.0f, false);
  check_range("min_p", options.min_p, 0.0f, 1.0f, true);
  check_range("repetition_penalty", options.repetition_penalty, 0.0f, kPenaltyLimit, false);
  check_range("presence_penalty", options.presence_penalty, -kPenaltyLimit, kPenaltyLimit, true);
  check_range("frequency_penalty", options.frequency_penalty, -kPenaltyLimit, kPenaltyLimit, true);
  if (options.penalty_tokens > kMaxPenaltyTokens) {
    throw Error(ErrorKind::kUsage,
                text("penalty_tokens is ", options.penalty_tokens, "; it must be at most ",
                     kMaxPenaltyTokens, ", or 0 for all tokens"));
  }
}

Sampler::Sampler(const SamplingOptions& options) : options_(options) {
  check(options);
  std::uint64_t state = options.seed;
  for (auto& word : random_) word = splitmix64(state);
  penalised_ = options.repetition_penalty != 1.0f || options.presence_penalty != 0.0f ||
               options.frequency_penalty != 0.0f;
}

void Sampler::accept(std::span<const std::int32_t> tokens) {
  if (!penalised_) return;
  if (options_.penalty_tokens != 0 && tokens.size() > options_.penalty_tokens)
    tokens = tokens.last(options_.penalty_tokens);
  for (const std::int32_t token : tokens) count(token);
}

void Sampler::count(std::int32_t token) {
  assert(token >= 0);
  if (static_cast<std::size_t>(token) >= counts_.size()) counts_.resize(token + 1u);
  ++counts_[token];
  if (options_.penalty_tokens == 0) return;
  if (history_.size() < options_.penalty_tokens) {
    history_.push_back(token);
    return;
  }
  --counts_[history_[oldest_]];
  history_[oldest_] = token;
  oldest_ = (oldest_ + 1) % history_.size();
}

std::int32_t Sampler::sample(std::span<const float> logits) {
  if (penalised_) reserve(logits.size());
  const std::int32_t token = options_.temperature == 0.0f ? pick_greedy(logits) : draw(logits);
  if (penalised_) count(token);
  return token;
}

// Everything that later calls could grow, so that they don't.
void Sampler::reserve(std::size_t vocab) {
  if (counts_.size() < vocab) counts_.resize(vocab);
  history_.reserve(options_.penalty_tokens);
}

float Sampler::penalise(float logit, std::size_t token) const {
  const std::uint32_t occurrences = token < counts_.size() ? counts_[token] : 0;
  if (occurrences == 0) return logit;
  const float factor = options_.repetition_penalty;
  logit = logit > 0.0f ? logit / factor : logit * factor;
  return logit - options_.presence_penalty -
         options_.frequency_penalty * static_cast<float>(occurrences);
}

std::int32_t Sampler::pick_greedy(std::span<const float> logits) const {
  float best = -std::numeric_limits<float>::infinity();
  std::int32_t token = -1;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const float logit = penalise(logits[i], i);
    if (logit > best) {
      best = logit;
      token = static_cast<std::int32_t>(i);
    }
  }
  if (token < 0) throw_no_candidate(logits.size());
  return token;
}

std::int32_t Sampler::draw(std::span<const float> logits) {
  collect(logits);
  keep_top_k();
  double total = weigh();
  if (options_.top_p < 1.0f) total = keep_top_p(total);
  if (options_.min_p > 0.0f) total = keep_min_p();
  return draw_one(total);
}

std::int32_t Sampler::draw_one(double total) {
  double left = static_cast<double>(xoshiro256(random_) >> 11) * 0x1p-53 * total;
  std::int32_t token = -1;
  for (const Candidate& candidate : candidates_) {
    if (candidate.weight == 0.0) continue;
    token = candidate.token;  // stays if rounding leaves a crumb past the last one
    left -= candidate.weight;
    if (left < 0.0) break;
  }
  return token;
}

void Sampler::collect(std::span<const float> logits) {
  candidates_.clear();
  candidates_.reserve(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const float logit = penalise(logits[i], i);
    if (is_candidate(logit)) candidates_.push_back({0.0, logit, static_cast<std::int32_t>(i)});
  }
  if (candidates_.empty()) throw_no_candidate(logits.size());
}

bool Sampler::comes_first(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

void Sampler::keep_top_k() {
  const std::size_t k = options_.top_k;
  if (k == 0) return;
  if (k < candidates_.size()) {
    std::nth_element(candidates_.begin(), candidates_.begin() + k, candidates_.end(), comes_first);
    candidates_.resize(k);
  }
  std::sort(candidates_.begin(), candidates_.end(), comes_first);
}

double Sampler::weight_of(float logit, float top) const {
  const double below = static_cast<double>(logit) - top;  // NaN for inf - inf
  return logit == top ? 1.0 : exp_below_zero(below / options_.temperature);
}

// Gives each candidate its probability times a common factor, the largest weight being 1. Returns
// the sum.
double Sampler::weigh() {
  float top = candidates_.front().logit;
  for (const Candidate& candidate : candidates_) top = std::max(top, candidate.logit);
  double total = 0.0;
  for (Candidate& candidate : candidates_) {
    candidate.weight = weight_of(candidate.logit, top);
    total += candidate.weight;
  }
  return total;
}

// Keeps the fewest likeliest candidates that hold top_p of `total`; returns what they hold. Only as
// much is sorted as is needed: mostly a few of a hundred thousand.
double Sampler::keep_top_p(double total) {
  const double wanted = total * options_.top_p;
  double held = 0.0;
  std::size_t sorted = 0;
  for (std::size_t i = 0; i < candidates_.size(); ++i) {
    if (i == sorted) {
      sorted = std::min(candidates_.size(), std::max<std::size_t>(128, sorted * 4));
      const auto begin = candidates_.begin() + i, end = candidates_.begin() + sorted;
      if (sorted < candidates_.size()) std::nth_element(begin, end, candidates_.end(), comes_first);
      std::sort(begin, end, comes_first);
    }
    held += candidates_[i].weight;
    if (held >= wanted) {
      candidates_.resize(i + 1);
      break;
    }
  }
  return held;
}

double Sampler::keep_min_p() {
  std::erase_if(candidates_, [&](const Candidate& c) { return c.weight < options_.min_p; });
  double total = 0.0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  return total;
}

}  // namespace sluice
