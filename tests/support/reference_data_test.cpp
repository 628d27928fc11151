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

TEST_CASE("reference: the relative error is that of 2-norms, and NaN never passes for small") {
  const float wanted[] = {3.0f, 4.0f};
  const float near[] = {3.0f, 4.5f};
  const float wrong[] = {3.0f, std::numeric_limits<float>::quiet_NaN()};
  CHECK(relative_error(wanted, wanted) == 0.0);
  CHECK(relative_error(near, wanted) == doctest::Approx(0.1));
  CHECK_FALSE(relative_error(wrong, wanted) < 1e9);
}
