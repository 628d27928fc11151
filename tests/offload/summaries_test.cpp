// What the engine brings of logits: summaries after each feed, rows when they are asked for.
#include <doctest/doctest.h>

#include <algorithm>
#include <utility>

#include "tests/support/engine_fixture.h"
#include "tests/support/reference_data.h"
#include "tests/support/summary_referee.h"

using namespace sluice;
using testing::check_summary;

namespace {

constexpr std::size_t kLengths[] = {3, 70, 1, 20};
constexpr std::size_t kSequences = std::size(kLengths);

std::vector<std::vector<std::int32_t>> sequences_of(const TinyReference& reference) {
  std::vector<std::vector<std::int32_t>> sequences;
  for (const std::size_t length : kLengths) {
    sequences.emplace_back();
    for (std::size_t t = 0; t < length; ++t) {
      sequences.back().push_back(reference.ids[t % reference.ids.size()]);
    }
  }
  return sequences;
}

Workload workload_of(bool all_logits) {
  return {.sequences = kSequences,
          .prompt_tokens = 70,
          .max_tokens = 1,
          .context_tokens = 70,
          .all_logits = all_logits};
}

}  // namespace

TEST_CASE("engine: summaries and rows are of each feed's last token, whatever the passes were") {
  const TinyReference& reference = tiny_reference("quants");
  const TestModel model(reference.gguf);
  const auto sequences = sequences_of(reference);
  const AllLogits truth = score_all(model, model.plan(workload_of(true), {}), {}, sequences);
  const std::size_t vocab = model.layout.config.vocab;
  for (const std::size_t segment : {0, 1, 2, 5, 30, 94}) {  // 0: in place
    CAPTURE(segment);
    const bool in_place = segment == 0;
    PlanLimits limits{.in_place = in_place};
    if (!in_place) {
      limits.segment_tokens = segment;
      limits.device_bytes = smallest_limit_bytes(model.layout, workload_of(false), limits);
    }
    const Plan plan = model.plan(workload_of(false), limits);
    TestEngine test(model, plan, {}, in_place);
    CHECK(test.reserved_bytes == plan.bytes.total());
    std::vector<Feed> feeds;
    for (std::size_t s = 0; s < kSequences; ++s) {
      feeds.push_back({s, sequences[s], static_cast<float>(s) * 0.5f});
    }
    test.engine.feed(feeds);
    for (std::size_t s = 0; s < kSequences; ++s) {
      CAPTURE(s);
      const auto row = std::span(truth[s]).last(vocab);
      const float scale = s == 0 ? 0.0f : 1.0f / (static_cast<float>(s) * 0.5f);
      check_summary(row, {-1, scale}, true, test.engine.summary(s));
      CHECK(std::ranges::equal(row, test.engine.logits(s)));
    }
  }
}

TEST_CASE("engine: scoring by summaries gives every next token's logit and the sum") {
  const TinyReference& reference = tiny_reference("f32_head24");
  const TestModel model(reference.gguf);
  const auto sequences = sequences_of(reference);
  const std::size_t vocab = model.layout.config.vocab;
  const AllLogits truth = score_all(model, model.plan(workload_of(true), {}), {}, sequences);
  for (const std::size_t segment : {1, 7, 94}) {
    CAPTURE(segment);
    TestEngine test(model, model.plan(workload_of(true), {.segment_tokens = segment}));
    std::vector<Feed> feeds;
    for (std::size_t s = 0; s < kSequences; ++s) feeds.push_back({s, sequences[s]});
    std::size_t rows = 0;
    test.engine.score(feeds, [&](std::size_t s, std::size_t t, const LogitsSummary& summary) {
      ++rows;
      const bool last = t + 1 == sequences[s].size();
      check_summary(std::span(truth[s]).subspan(t * vocab, vocab),
                    {last ? -1 : sequences[s][t + 1], 1.0f}, false, summary);
    });
    CHECK(rows == 94);
  }
}

TEST_CASE("engine: of logits only a summary crosses the link, until a row is asked for") {
  const TinyReference& reference = tiny_reference("quants");
  const TestModel model(reference.gguf);
  const Workload workload{.sequences = 1, .prompt_tokens = 40, .context_tokens = 100};
  TestEngine test(model, model.plan(workload, {}));  // all is resident
  const Feed feed{0, reference.ids};
  test.engine.feed({&feed, 1});
  std::size_t before = test.engine.link_bytes();
  const auto crossed = [&] {
    return test.engine.link_bytes() - std::exchange(before, test.engine.link_bytes());
  };
  const Feed one{0, std::span(reference.ids).first(1)};
  test.engine.feed({&one, 1});
  const std::size_t pages = ceil_div(reference.ids.size() + 1, kPageTokens);
  const PassShape shape{.tokens = 1, .logit_rows = 1, .blocks = 1, .table_pages = pages};
  CHECK(crossed() == shape.input_bytes(model.layout.config) + sizeof(LogitsSummary));
  CHECK(test.engine.logits(0).size() == model.layout.config.vocab);
  CHECK(crossed() == model.layout.config.vocab * sizeof(float));
}
