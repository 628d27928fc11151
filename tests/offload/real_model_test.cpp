// The real model against Transformers' fp32 answers, through every layer of Sluice.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/engine_fixture.h"
#include "tests/support/reference_data.h"

using namespace sluice;

namespace {

constexpr float kClearGap = 0.01f;  // of the two highest logits: below it, rounding may decide

std::int32_t greedy(std::span<const float> logits) {
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

std::vector<float> every_nth(std::span<const float> logits, std::size_t stride) {
  std::vector<float> picked;
  for (std::size_t i = 0; i < logits.size(); i += stride) picked.push_back(logits[i]);
  return picked;
}

}  // namespace

TEST_SUITE("model") {
  TEST_CASE("real model: logits and 48 greedy tokens are Transformers', for 24 prompts") {
    const LogitsReference& reference = logits_reference();
    const TestModel model(real_model());
    const Workload workload{
        .sequences = 1, .prompt_tokens = 64, .max_tokens = 48, .context_tokens = 256};
    TestEngine test(model, model.plan(workload, {.device_bytes = std::size_t{44} << 20}));
    double worst = 0.0;
    std::size_t unclear = 0;
    for (const PromptReference& prompt : reference.prompts) {
      CAPTURE(prompt.name);
      test.engine.truncate(0, 0);
      std::vector<std::int32_t> ids = prompt.ids;
      ids.insert(ids.end(), prompt.continuation.begin(), prompt.continuation.end() - 1);
      // One token a call: what is greedy here is compared where the reference is sure of itself,
      // and the reference's token goes on.
      for (std::size_t at = 0; at < ids.size(); ++at) {
        const Feed feed{0, {&ids[at], 1}};
        test.engine.feed({&feed, 1});
        for (const LogitsProbe& probe : prompt.probes) {
          if (probe.position != at) continue;
          const double error =
              relative_error(every_nth(test.engine.logits(0), reference.stride), probe.values);
          worst = std::max(worst, error);
          CHECK(error < 2e-2);
        }
        if (at + 1 < prompt.ids.size()) continue;
        const std::size_t step = at + 1 - prompt.ids.size();
        if (prompt.gaps[step] <= kClearGap) {
          ++unclear;
          continue;
        }
        CAPTURE(step);
        CHECK(greedy(test.engine.logits(0)) == prompt.continuation[step]);
      }
    }
    MESSAGE("largest relative error of logits " << worst << ", steps with too small a gap "
                                                << unclear);
  }
}
