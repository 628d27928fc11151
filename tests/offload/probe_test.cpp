#include "offload/probe.h"

#include <doctest/doctest.h>

#include <cmath>

#include "offload/cost_model.h"
#include "tests/support/engine_fixture.h"
#include "tests/support/reference_data.h"

using namespace sluice;

TEST_CASE("probe: what the work at hand has no use for isn't measured") {
  const TestModel model{tiny_reference("f32").gguf};
  const Hardware hardware =
      probe_host(model.layout, Precision::kHigh, {}, {}, {.most_tokens = 5, .copies = false});
  const ProductRate& rate = hardware.device.products[static_cast<std::size_t>(DType::kF32)];
  for (std::size_t i = 1; i < ProductRate::kTokens.size(); ++i) {
    CAPTURE(ProductRate::kTokens[i]);
    const double ratio = rate.seconds_per_byte[i] / rate.seconds_per_byte[i - 1];
    // Eight tokens are more than there will be, and the last to be measured.
    CHECK((ratio == doctest::Approx(2.0).epsilon(1e-12)) == (ProductRate::kTokens[i] > 8));
    CHECK(hardware.device.element_seconds[i] > 0.0);
    CHECK(hardware.device.cut_seconds[i] == 0.0);
  }
  CHECK(hardware.copy_bytes_per_second == 0.0);
  CHECK(hardware.wait_seconds == 0.0);

  const Workload workload{.prompt_tokens = 5, .max_tokens = 8, .context_tokens = 64};
  const Plan plan = make_plan(model.layout, workload, {.in_place = true}, hardware);
  CHECK(std::isfinite(plan.predicted.prefill_seconds));
  CHECK(plan.predicted.prefill_seconds > 0.0);
  CHECK(std::isfinite(plan.predicted.decode_pass_seconds));
  CHECK(plan.predicted.decode_pass_seconds > 0.0);
}
