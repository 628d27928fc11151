#include "layers/isa.h"

#include <doctest/doctest.h>

#include "tests/support/expect_error.h"

using namespace sluice;
using sluice::testing::failure_of;

TEST_CASE("isa: every machine runs the baseline, and what isn't there is refused by name") {
  CHECK(isa_names().back() == "baseline");
  const auto failure = failure_of([] { force_isa("abacus"); });
  CHECK(failure.kind == ErrorKind::kUsage);
  CHECK(failure.says("abacus"));
}
