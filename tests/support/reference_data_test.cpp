#include "tests/support/reference_data.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>

using namespace sluice;

namespace {

bool ids_lie_within(const std::vector<std::int32_t>& ids, std::size_t vocab) {
  return std::ranges::all_of(
      ids, [&](std::int32_t id) { return id >= 0 && static_cast<std::size_t>(id) < vocab; });
}

bool all_finite(std::span<const float> values) {
  return std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
}

}  // namespace

TEST_CASE("reference: every tiny model has its file, its ids and logits that say something") {
  REQUIRE(tiny_references().size() == 10);
  for (const TinyReference& model : tiny_references()) {
    CAPTURE(model.name);
    char magic[4] = {};
    std::ifstream(model.gguf, std::ios::binary).read(magic, 4);
    CHECK(std::string_view(magic, 4) == "GGUF");
    CHECK(model.ids.size() == 40);
    CHECK(ids_lie_within(model.ids, model.vocab));
    CHECK(all_finite(model.logits));
    // Neighbouring positions differ: the logits are not one row repeated.
    const std::span<const float> rows(model.logits);
    CHECK(relative_error(rows.subspan(0, model.vocab), rows.subspan(model.vocab, model.vocab)) >
          0.1);
  }
}

TEST_CASE("reference: every prompt has a continuation, its gaps and probes inside the sequence") {
  const LogitsReference& reference = logits_reference();
  REQUIRE(reference.prompts.size() == 24);
  for (const PromptReference& prompt : reference.prompts) {
    CAPTURE(prompt.name);
    CHECK(ids_lie_within(prompt.ids, reference.vocab));
    CHECK(ids_lie_within(prompt.continuation, reference.vocab));
    CHECK(prompt.continuation.size() == 48);
    CHECK(prompt.gaps.size() == prompt.continuation.size());
    CHECK(std::ranges::min(prompt.gaps) >= 0.0f);
    REQUIRE(prompt.probes.size() == 3);
    CHECK(prompt.probes[1].position == prompt.ids.size() - 1);
    for (const LogitsProbe& probe : prompt.probes) {
      CHECK(probe.position < prompt.ids.size() + prompt.continuation.size());
      CHECK(probe.values.size() == reference.vocab / reference.stride);
      CHECK(all_finite(probe.values));
    }
  }
}

TEST_CASE("reference: a picked id that was probed has the highest of the probed logits") {
  const LogitsReference& reference = logits_reference();
  std::size_t checked = 0;
  for (const PromptReference& prompt : reference.prompts) {
    for (const LogitsProbe& probe : prompt.probes) {
      if (probe.position + 1 < prompt.ids.size()) continue;
      const auto id =
          static_cast<std::size_t>(prompt.continuation[probe.position + 1 - prompt.ids.size()]);
      if (id % reference.stride != 0) continue;
      CAPTURE(prompt.name);
      CHECK(std::ranges::max(probe.values) == probe.values[id / reference.stride]);
      ++checked;
    }
  }
  CHECK(checked > 0);
}

TEST_CASE("reference: the relative error is that of 2-norms, and NaN never passes for small") {
  const float wanted[] = {3.0f, 4.0f};
  const float near[] = {3.0f, 4.5f};
  const float wrong[] = {3.0f, std::numeric_limits<float>::quiet_NaN()};
  CHECK(relative_error(wanted, wanted) == 0.0);
  CHECK(relative_error(near, wanted) == doctest::Approx(0.1));
  CHECK_FALSE(relative_error(wrong, wanted) < 1e9);
}
