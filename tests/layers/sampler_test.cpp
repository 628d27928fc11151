#include "layers/sampler.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>

#include "memory/error.h"

using namespace sluice;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// What each token's probability should be, written down as plainly as possible.
std::vector<double> probabilities(std::vector<double> logits, const SamplingOptions& options,
                                  const std::map<int, int>& occurrences = {}) {
  for (const auto& [token, times] : occurrences) {
    double& logit = logits[token];
    logit = logit > 0 ? logit / options.repetition_penalty : logit * options.repetition_penalty;
    logit -= options.presence_penalty + options.frequency_penalty * times;
  }
  std::vector<std::size_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](auto a, auto b) { return logits[a] > logits[b]; });
  std::vector<double> p(logits.size(), 0.0);
  const std::size_t k = options.top_k == 0 ? order.size() : std::min(options.top_k, order.size());
  double sum = 0;
  for (std::size_t i = 0; i < k; ++i) {
    p[order[i]] = std::exp((logits[order[i]] - logits[order[0]]) / options.temperature);
    sum += p[order[i]];
  }
  double held = 0;
  for (const std::size_t token : order) {
    const bool enough = options.top_p < 1.0f && held >= options.top_p * sum;
    held += p[token];
    if (enough || p[token] < options.min_p) p[token] = 0.0;
  }
  const double total = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& value : p) value /= total;
  return p;
}

// Pearson's statistic over `draws`, and how many tokens it runs over; a token that must not occur
// and does is an infinite one.
double chi_square(const std::vector<double>& expected, const std::vector<int>& seen, int draws) {
  double sum = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] == 0.0 && seen[i] > 0) return kInf;
    if (expected[i] == 0.0) continue;
    const double mean = expected[i] * draws;
    sum += (seen[i] - mean) * (seen[i] - mean) / mean;
  }
  return sum;
}

std::vector<std::int32_t> draw_many(const SamplingOptions& options, std::span<const float> logits,
                                    int count) {
  Sampler sampler(options);
  std::vector<std::int32_t> tokens(count);
  for (auto& token : tokens) token = sampler.sample(logits);
  return tokens;
}

std::string refusal(const SamplingOptions& options) {
  try {
    check(options);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kUsage);
    return error.what();
  }
  return "";
}

const std::vector<float> kLogits = {1.5f, -0.5f, 2.0f, 0.0f,  1.5f, -3.0f,
                                    0.7f, 1.9f,  0.1f, -1.0f, 2.0f, 0.4f};

}  // namespace

TEST_CASE("sampler: draws follow the distribution that the options describe") {
  const SamplingOptions cases[] = {
      {.temperature = 1.0f},
      {.temperature = 0.6f},
      {.temperature = 1.7f},
      {.temperature = 1.0f, .top_k = 4},
      {.temperature = 1.0f, .top_k = 1000},
      {.temperature = 1.0f, .top_p = 0.7f},
      {.temperature = 1.0f, .min_p = 0.25f},
      {.temperature = 0.8f, .top_k = 9, .top_p = 0.9f, .min_p = 0.15f},
      {.temperature = 1.3f, .top_k = 6, .top_p = 0.8f},
  };
  constexpr int kDraws = 40000;
  for (SamplingOptions options : cases) {
    for (std::uint64_t seed : {1u, 77u}) {
      options.seed = seed;
      CAPTURE(options.temperature);
      CAPTURE(options.top_k);
      CAPTURE(options.top_p);
      CAPTURE(options.min_p);
      const auto expected = probabilities({kLogits.begin(), kLogits.end()}, options);
      std::vector<int> seen(kLogits.size());
      for (const auto token : draw_many(options, kLogits, kDraws)) ++seen[token];
      const auto possible = expected.size() - std::count(expected.begin(), expected.end(), 0.0);
      // The mean is possible - 1, the deviation sqrt(2 (possible - 1)): five deviations.
      CHECK(chi_square(expected, seen, kDraws) <
            (possible - 1.0) + 5 * std::sqrt(2.0 * (possible - 1.0)));
      for (std::size_t i = 0; i < expected.size(); ++i) CHECK((expected[i] > 0) == (seen[i] > 0));
    }
  }
}

TEST_CASE("sampler: penalties move the distribution as described") {
  const SamplingOptions options{.temperature = 1.0f,
                                .repetition_penalty = 1.5f,
                                .presence_penalty = 0.4f,
                                .frequency_penalty = 0.3f,
                                .penalty_tokens = 5,
                                .seed = 5};
  const std::vector<std::int32_t> prompt = {3, 3, 0, 5, 2, 2, 2, 7};  // the last five count
  const auto expected =
      probabilities({kLogits.begin(), kLogits.end()}, options, {{5, 1}, {2, 3}, {7, 1}});
  std::vector<int> seen(kLogits.size());
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) {
    SamplingOptions other = options;
    other.seed = i;
    Sampler sampler(other);
    sampler.accept(prompt);
    ++seen[sampler.sample(kLogits)];
  }
  CHECK(chi_square(expected, seen, kDraws) < 11 + 5 * std::sqrt(22.0));
}

TEST_CASE("sampler: a sampled token counts, and is forgotten after penalty_tokens more") {
  const std::vector<float> logits = {3.0f, 2.0f, 1.0f, 0.0f};
  Sampler windowed({.presence_penalty = 10.0f, .penalty_tokens = 2});
  for (const int expected : {0, 1, 2, 0, 1, 2}) CHECK(windowed.sample(logits) == expected);
  Sampler unbounded({.frequency_penalty = 0.9f, .penalty_tokens = 0});
  for (const int expected : {0, 0, 1, 0, 1, 2}) CHECK(unbounded.sample(logits) == expected);
  Sampler prompted({.presence_penalty = 10.0f});
  prompted.accept(std::vector<std::int32_t>{0, 1, 9999});  // 9999 is beyond these logits
  CHECK(prompted.sample(logits) == 2);
}

TEST_CASE("sampler: a repetition penalty lowers negative logits too") {
  Sampler sampler({.repetition_penalty = 2.0f});
  sampler.accept(std::vector<std::int32_t>{0});
  CHECK(sampler.sample(std::vector<float>{-1.0f, -1.5f}) == 1);
}

TEST_CASE("sampler: the seed alone decides, and the draws are the same on any machine") {
  const SamplingOptions options{.temperature = 0.9f, .top_k = 10, .top_p = 0.95f, .seed = 42};
  CHECK(draw_many(options, kLogits, 500) == draw_many(options, kLogits, 500));
  SamplingOptions other = options;
  other.seed = 43;
  CHECK(draw_many(options, kLogits, 500) != draw_many(other, kLogits, 500));
  // splitmix64, xoshiro256** and the cumulative sum over ids, worked out in Python's integers and
  // floats for temperature 1 and seed 42.
  const std::vector<std::int32_t> golden = {0, 4, 7, 10, 11, 10, 7, 10, 10, 7, 7, 2, 10, 2, 7, 10};
  CHECK(draw_many({.temperature = 1.0f, .seed = 42}, kLogits, 16) == golden);
}

TEST_CASE("sampler: greedy takes the lowest id of the highest logit") {
  CHECK(draw_many({}, kLogits, 3) == std::vector<std::int32_t>{2, 2, 2});
  CHECK(draw_many({.top_k = 1}, std::vector<float>{kNan, -1.0f, -1.0f}, 1).front() == 1);
  CHECK(draw_many({.temperature = 1.0f, .top_k = 1}, kLogits, 1).front() == 2);
  CHECK(draw_many({.temperature = 1.0f, .top_p = 1e-9f}, kLogits, 1).front() == 2);
  CHECK(draw_many({.temperature = 1e-30f}, std::vector<float>{1.0f, 2.0f}, 1).front() == 1);
}

TEST_CASE("sampler: min_p 1 leaves only the likeliest, equals included") {
  for (const auto token : draw_many({.temperature = 1.0f, .min_p = 1.0f}, kLogits, 200))
    CHECK((token == 2 || token == 10));
}

TEST_CASE("sampler: a weight is exp of the logit's distance, to a float's precision") {
  for (float distance = 0.05f; distance < 3.0f; distance += 0.05f) {
    CAPTURE(distance);
    const std::vector<float> logits = {0.0f, -distance};
    const float weight = static_cast<float>(std::exp(-static_cast<double>(distance)));
    for (const float off : {-2e-7f, 2e-7f}) {
      const auto tokens =
          draw_many({.temperature = 1.0f, .min_p = weight * (1 + off)}, logits, 400);
      CHECK((std::count(tokens.begin(), tokens.end(), 1) > 0) == (off < 0));
    }
  }
}

TEST_CASE("sampler: top_p keeps what it needs of a long flat tail") {
  std::vector<float> logits(1000, 0.0f);
  std::vector<int> seen(logits.size());
  for (const auto token : draw_many({.temperature = 1.0f, .top_p = 0.5f}, logits, 10000))
    ++seen[token];
  CHECK(std::count(seen.begin(), seen.begin() + 500, 0) == 0);
  CHECK(std::count(seen.begin() + 500, seen.end(), 0) == 500);
}

TEST_CASE("sampler: a NaN or infinite logit is never a crash") {
  const std::vector<float> logits = {kNan, -kInf, 1.0f, kNan, 0.5f};
  for (const float temperature : {0.0f, 1.0f}) {
    for (const auto token : draw_many({.temperature = temperature}, logits, 200))
      CHECK((token == 2 || token == 4));
    CHECK(draw_many({.temperature = temperature}, std::vector<float>{1.0f, kInf}, 1).front() == 1);
    for (const auto& none : {std::vector<float>{kNan, -kInf}, std::vector<float>{}}) {
      Sampler sampler({.temperature = temperature});
      try {
        sampler.sample(none);
        FAIL("picked a token out of none");
      } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::kInternal);
      }
    }
  }
}

TEST_CASE("sampler: an option out of range is refused by name, with its value and the range") {
  CHECK(refusal({}) == "");
  CHECK(refusal({.temperature = -0.5f}) == "temperature is -0.5; it must be from 0 to 100");
  CHECK(refusal({.temperature = kNan}).starts_with("temperature is nan"));
  CHECK(refusal({.top_p = 0.0f}) == "top_p is 0; it must be above 0 and at most 1");
  CHECK(refusal({.min_p = 1.5f}) == "min_p is 1.5; it must be from 0 to 1");
  CHECK(refusal({.repetition_penalty = 0.0f}).starts_with("repetition_penalty is 0;"));
  CHECK(refusal({.presence_penalty = kInf}).starts_with("presence_penalty is inf;"));
  CHECK(refusal({.frequency_penalty = -kInf}).starts_with("frequency_penalty is -inf;"));
  CHECK(refusal({.penalty_tokens = std::size_t{1} << 40}).starts_with("penalty_tokens is 1099"));
}
