#include <doctest/doctest.h>

#include <cstring>

#include "layers/summarise_row.h"
#include "tests/support/summary_referee.h"

using namespace sluice;
using namespace sluice::testing;

TEST_CASE("summary: a row's highest, sum and target are what sorting it says, in any size") {
  for (const std::size_t vocab :
       {1, 2, 31, 32, 33, 63, 64, 65, 66, 255, 256, 257, 1000, 4096, 4097, 49152, 128256, 262145}) {
    for (std::size_t kind = 0; kind < kRowKinds; ++kind) {
      CAPTURE(vocab);
      CAPTURE(kind);
      const std::vector<float> row =
          hard_row(kind, vocab, static_cast<std::uint32_t>(kind + vocab));
      const auto last = static_cast<std::int32_t>(vocab - 1);
      for (const LogitsQuery& query :
           {LogitsQuery{}, LogitsQuery{0, 1.0f}, LogitsQuery{last, 1.0f / 0.7f}}) {
        for (const bool top : {false, true}) {
          LogitsSummary summary;
          std::memset(&summary, 0xff, sizeof summary);
          summarise_row(row, query, top, summary);
          check_summary(row, query, top, summary);
        }
      }
    }
  }
}

TEST_CASE("log probability: is the softmax's logarithm, far out and in any size") {
  for (const std::size_t vocab : {1, 2, 15, 16, 17, 1000, 49152}) {
    std::vector<float> row(vocab);
    for (std::size_t i = 0; i < vocab; ++i) row[i] = 500.0f + 3.0f * std::sin(float(i));
    double total = 0.0;
    for (const float x : row) total += std::exp(static_cast<double>(x) - 500.0);
    LogitsSummary summary;
    for (std::size_t i = 0; i < vocab; i += vocab / 5 + 1) {
      summarise_row(row, {static_cast<std::int32_t>(i), 1.0f}, false, summary);
      const double right = row[i] - 500.0 - std::log(total);
      CHECK(std::abs(log_probability(summary) - right) < 1e-6);
    }
    row[vocab / 2] = NAN;
    summarise_row(row, {0, 1.0f}, false, summary);
    CHECK(std::isnan(log_probability(summary)));
  }
}
