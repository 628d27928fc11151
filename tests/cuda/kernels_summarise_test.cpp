// Rows of logits in a few numbers, against sorting and double precision.
#include <doctest/doctest.h>

#include <cstring>

#include "tests/cuda/kernels_fixture.h"
#include "tests/support/summary_referee.h"

using namespace sluice;
using namespace sluice::testing;

namespace {

struct Summarised {
  Summarised(std::size_t rows_, std::size_t vocab_)
      : rows(rows_),
        vocab(vocab_),
        logits(rows * vocab),
        queries(rows),
        parts(rows * summary_parts(vocab)),
        out(rows) {}

  void set(std::size_t row, const std::vector<float>& values, const LogitsQuery& query) {
    std::copy(values.begin(), values.end(), logits.data() + row * vocab);
    queries[row] = query;
  }
  void run(TestGpu& gpu, bool top, std::size_t first, std::size_t count) {
    out.clear();
    parts.clear();
    const SummariseArgs args{logits.data() + first * vocab,
                             count,
                             vocab,
                             queries.data() + first,
                             top,
                             parts.data(),
                             out.data()};
    gpu.run([&](Ops& ops, Stream& stream) { ops.summarise(stream, args); });
  }
  void check(bool top) const {
    for (std::size_t row = 0; row < rows; ++row) {
      CAPTURE(row);
      check_summary({logits.data() + row * vocab, vocab}, queries[row], top, out[row]);
    }
  }

  std::size_t rows;
  std::size_t vocab;
  DeviceArray<float> logits;
  DeviceArray<LogitsQuery> queries;
  DeviceArray<LogitsSummary> parts;
  DeviceArray<LogitsSummary> out;
};

}  // namespace

TEST_CASE("kernels: summaries of logits are what sorting and double precision say") {
  TestGpu gpu;
  for (const std::size_t vocab : {1, 2, 63, 64, 65, 256, 257, 1000, 4096, 4097, 9000}) {
    CAPTURE(vocab);
    Summarised rows(kRowKinds, vocab);
    for (std::size_t kind = 0; kind < kRowKinds; ++kind) {
      const std::int32_t target = kind % 3 == 0 ? -1 : static_cast<std::int32_t>(kind % vocab);
      const float scale = kind % 4 == 1 ? 0.0f : 0.25f * static_cast<float>(kind) + 0.5f;
      rows.set(kind, hard_row(kind, vocab, static_cast<std::uint32_t>(vocab + kind)),
               {target, scale});
    }
    in_each_order([&] {
      for (const bool top : {false, true}) {
        rows.run(gpu, top, 0, kRowKinds);
        rows.check(top);
      }
    });
  }
}

// 65 parts: more than are put together at once.
TEST_CASE("kernels: summaries of long rows are right, wherever their highest logits lie") {
  TestGpu gpu;
  for (const std::size_t vocab : {std::size_t{49152}, 64 * kPartLogits + 5}) {
    for (const std::size_t kind : {0, 2, 3}) {
      CAPTURE(vocab);
      CAPTURE(kind);
      std::vector<float> row = hard_row(kind, vocab, 7);
      row.front() = row.back() = 100.0f;
      Summarised one(1, vocab);
      one.set(0, row, {static_cast<std::int32_t>(vocab - 1), 1.0f});
      one.run(gpu, true, 0, 1);
      one.check(true);
    }
  }
}

TEST_CASE("kernels: a summary's bits don't depend on what else is in the call") {
  TestGpu gpu;
  constexpr std::size_t kRows = 3;
  constexpr std::size_t kVocab = 5000;
  Summarised rows(kRows, kVocab);
  for (std::size_t r = 0; r < kRows; ++r) rows.set(r, hard_row(0, kVocab, r), {7, 1.25f});
  rows.run(gpu, true, 0, kRows);
  const std::vector<LogitsSummary> together = rows.out.values();
  in_each_order([&] {
    for (std::size_t r = 0; r < kRows; ++r) {
      rows.run(gpu, true, r, 1);
      CHECK(rows.out[0].sum == together[r].sum);
      CHECK(std::memcmp(rows.out[0].logits, together[r].logits, sizeof together[r].logits) == 0);
      CHECK(std::memcmp(rows.out[0].ids, together[r].ids, sizeof together[r].ids) == 0);
    }
  });
}
