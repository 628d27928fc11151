// What is picked from a summary is what would have been picked from the row.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "layers/sampler.h"
#include "layers/summarise_row.h"
#include "memory/error.h"
#include "tests/support/summary_referee.h"

using namespace sluice;
using namespace sluice::testing;

namespace {

// A device's sum may be off by this, to either side.
constexpr double kSumError = 5e-6;

LogitsSummary summary_of(std::span<const float> row, const SamplingOptions& options,
                         double sum_error = 0.0) {
  const float temperature = sum_temperature(options);
  LogitsSummary summary;
  summarise_row(row, {-1, temperature > 0.0f ? 1.0f / temperature : 0.0f}, true, summary);
  summary.sum *= 1.0 + sum_error;
  return summary;
}

// Draws from `rows` in turns, from summaries where they do, beside a sampler that sees only rows;
// returns how many summaries did.
std::size_t accepted(const SamplingOptions& options, std::span<const std::vector<float>> rows,
                     std::size_t draws, std::span<const std::int32_t> prompt = {}) {
  Sampler by_summary(options);
  Sampler by_row(options);
  by_summary.accept(prompt);
  by_row.accept(prompt);
  std::size_t count = 0;
  for (std::size_t i = 0; i < draws; ++i) {
    const std::vector<float>& row = rows[i % rows.size()];
    const auto token =
        by_summary.sample(summary_of(row, options, i % 2 == 0 ? kSumError : -kSumError));
    count += token ? 1 : 0;
    const std::int32_t right = by_row.sample(row);
    REQUIRE((token ? *token : by_summary.sample(row)) == right);
  }
  return count;
}

// As a model's are: a few tokens stand out.
std::vector<std::vector<float>> usual_rows(std::size_t count, std::size_t vocab) {
  std::vector<std::vector<float>> rows;
  for (std::size_t i = 0; i < count; ++i) {
    rows.push_back(random_floats(vocab, static_cast<std::uint32_t>(i), 2.0f));
    for (std::size_t j = 0; j < 12; ++j) {
      rows.back()[(i * 7919 + j * 104729) % vocab] += 14.0f - static_cast<float>(j);
    }
  }
  return rows;
}

}  // namespace

TEST_CASE("sampler: a token from a summary is the row's, whatever the row and the options") {
  std::mt19937 random(1);
  const auto unit = [&] { return static_cast<float>(random() >> 8) * 0x1p-24f; };
  const auto chance = [&](float share) { return unit() < share; };
  std::size_t from_summaries = 0;
  for (int round = 0; round < 3000; ++round) {
    constexpr std::size_t kSizes[] = {1, 2, 5, 63, 64, 65, 100, 300, 2000};
    const std::size_t vocab = kSizes[random() % std::size(kSizes)];
    SamplingOptions options;
    options.seed = random();
    if (chance(0.8f)) options.temperature = chance(0.2f) ? 1e-3f : 0.1f + 2.0f * unit();
    if (chance(0.4f)) options.top_k = 1 + random() % (chance(0.8f) ? 70 : 3000);
    if (chance(0.4f)) options.top_p = std::max(unit(), 1e-3f);
    if (chance(0.4f)) options.min_p = unit() * unit();
    if (chance(0.4f)) options.repetition_penalty = chance(0.8f) ? 1.0f + unit() : 0.7f;
    if (chance(0.2f)) options.presence_penalty = chance(0.8f) ? unit() : -unit();
    if (chance(0.2f)) options.frequency_penalty = chance(0.8f) ? unit() : -unit();
    if (chance(0.3f)) options.penalty_tokens = random() % 10;
    std::vector<std::vector<float>> rows;
    for (std::size_t i = 0; i < 3; ++i) {
      const std::size_t kind = std::array<std::size_t, 6>{0, 0, 1, 2, 4, 8}[random() % 6];
      rows.push_back(hard_row(kind, vocab, static_cast<std::uint32_t>(random())));
      rows.back()[random() % vocab] = 15.0f;  // there is always one to pick
    }
    CAPTURE(round);
    from_summaries += accepted(options, rows, 9);
  }
  CHECK(from_summaries > 3000 * 9 / 3);
}

TEST_CASE("sampler: where a summary suffices it is taken") {
  const auto rows = usual_rows(50, 5000);
  constexpr std::size_t kDraws = 400;
  const auto taken = [&](const SamplingOptions& options) {
    return accepted(options, rows, kDraws);
  };
  CHECK(taken({}) == kDraws);
  for (const std::size_t k : {std::size_t{1}, std::size_t{40}, kTopLogits}) {
    CHECK(taken({.temperature = 0.8f, .top_k = k}) == kDraws);
    CHECK(taken({.temperature = 1.5f, .top_k = k, .top_p = 0.9f, .min_p = 0.02f}) == kDraws);
  }
  CHECK(taken({.temperature = 0.8f, .top_k = kTopLogits + 1}) == 0);
  CHECK(taken({.temperature = 0.8f}) == 0);
  CHECK(taken({.temperature = 0.8f, .top_p = 0.95f}) >= kDraws - 2);
  CHECK(taken({.temperature = 0.8f, .min_p = 0.02f}) == kDraws);
  CHECK(taken({.temperature = 5.0f, .top_p = 0.95f}) == 0);  // too flat to end within it
  CHECK(taken({.repetition_penalty = 1.2f}) == kDraws);
  CHECK(taken({.temperature = 0.8f, .top_k = 20, .repetition_penalty = 1.2f}) >= kDraws * 9 / 10);
  CHECK(taken({.temperature = 0.8f, .min_p = 0.05f, .presence_penalty = 1.0f}) == kDraws);
  CHECK(taken({.repetition_penalty = 0.9f}) == 0);  // raises what might not be listed
}

TEST_CASE("sampler: what penalties lower below the last that is listed gives way to what isn't") {
  std::vector<float> row(200);
  for (std::size_t i = 0; i < row.size(); ++i) row[i] = -0.001f * static_cast<float>(i);
  std::size_t from_summaries = 0;
  for (const std::size_t penalised : {1, 20, 63, 64, 100}) {
    std::vector<std::int32_t> prompt(penalised);
    std::iota(prompt.begin(), prompt.end(), 0);
    for (const float penalty : {0.01f, 0.06f, 1.0f}) {
      for (SamplingOptions options :
           {SamplingOptions{}, SamplingOptions{.temperature = 1.0f, .top_k = 64},
            SamplingOptions{.temperature = 1.0f, .top_k = 30},
            SamplingOptions{.temperature = 1.0f, .min_p = 0.95f}}) {
        options.presence_penalty = penalty;
        options.penalty_tokens = 0;
        CAPTURE(penalised);
        CAPTURE(penalty);
        from_summaries += accepted(options, {&row, 1}, 50, prompt);
      }
    }
  }
  CHECK(from_summaries > 200);
}

// top_p to a float's precision at the share that the first candidates hold: where the row's cut is
// moves with the last bits of its sum.
TEST_CASE("sampler: a cut that the sum's last bits would move is left to the row") {
  const auto rows = usual_rows(20, 2000);
  std::size_t refused = 0;
  for (const std::vector<float>& row : rows) {
    const LogitsSummary summary = summary_of(row, {.temperature = 1.0f, .top_p = 0.5f});
    double held = 0.0;
    for (std::size_t i = 0; i < 5; ++i) {
      held += std::exp(static_cast<double>(summary.logits[i]) - summary.highest);
      const auto top_p = static_cast<float>(held / summary.sum);
      for (const float near : {top_p, std::nextafterf(top_p, 0.0f), std::nextafterf(top_p, 1.0f)}) {
        refused += 8 - accepted({.temperature = 1.0f, .top_p = near}, {&row, 1}, 8);
      }
    }
  }
  CHECK(refused == 20 * 5 * 3 * 8);
}

TEST_CASE("sampler: of a row that has few candidates, or infinite ones, a summary is no crash") {
  for (std::size_t kind = 0; kind < kRowKinds; ++kind) {
    for (const std::size_t vocab : {1, 3, 64, 100}) {
      const std::vector<float> row = hard_row(kind, vocab, 5);
      for (const SamplingOptions& options :
           {SamplingOptions{}, SamplingOptions{.temperature = 1.0f},
            SamplingOptions{.temperature = 1.0f, .top_k = 5},
            SamplingOptions{.temperature = 1.0f, .top_p = 0.5f},
            SamplingOptions{.temperature = 1e-40f, .top_p = 0.5f},
            SamplingOptions{.temperature = 1.0f, .min_p = 0.5f},
            SamplingOptions{.repetition_penalty = 1.5f}}) {
        CAPTURE(kind);
        CAPTURE(vocab);
        const LogitsSummary summary = summary_of(row, options);
        if (summary.count == 0) {
          CHECK_FALSE(Sampler(options).sample(summary));
        } else {
          accepted(options, {&row, 1}, 20);
        }
      }
    }
  }
}
