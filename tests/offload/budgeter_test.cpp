#include "offload/budgeter.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "memory/units.h"
#include "offload/cost_model.h"
#include "offload/schedule.h"
#include "tests/support/engine_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/reference_data.h"

using namespace sluice;

TEST_CASE("budgeter: no plan asks for more than it was given, whatever it was given") {
  const TestModel model(tiny_reference("quants").gguf);
  for (const std::size_t sequences : {1, 4}) {
    const Workload workload{
        .sequences = sequences, .prompt_tokens = 30, .max_tokens = 20, .context_tokens = 100};
    const std::size_t smallest = smallest_limit_bytes(model.layout, workload, {});
    for (std::size_t limit = 0; limit < 3_MiB; limit += 17'003) {
      CAPTURE(limit);
      if (limit < smallest) {
        const testing::Failure failure =
            testing::failure_of([&] { model.plan(workload, {.device_bytes = limit}); });
        CHECK(failure.kind == ErrorKind::kOverBudget);
      } else {
        CHECK(model.plan(workload, {.device_bytes = limit}).bytes.total() <= limit);
      }
    }
  }
}

TEST_CASE("budgeter: what the user fixes stays fixed") {
  const TestModel model(tiny_reference("f32").gguf);
  const Workload workload{.prompt_tokens = 100, .max_tokens = 20, .context_tokens = 120};
  const PlanLimits pinned{.slots = 3, .segment_tokens = 7, .kv_types = {KvType::kF16}};
  PlanLimits limits = pinned;
  limits.device_bytes = smallest_limit_bytes(model.layout, workload, pinned) + 10'000;
  const Plan plan = model.plan(workload, limits);
  CHECK(plan.slots == 3);
  CHECK(plan.segment_tokens == 7);
  CHECK(plan.kv.type == KvType::kF16);
}

TEST_CASE("budgeter: more memory never gives a slower plan") {
  const TestModel model(tiny_reference("quants").gguf);
  const Workload workload{.prompt_tokens = 64, .max_tokens = 64, .context_tokens = 128};
  double before = 1e30;
  const std::size_t smallest = smallest_limit_bytes(model.layout, workload, {});
  for (std::size_t limit = smallest; limit < 2_MiB; limit += 40'000) {
    const Plan plan = model.plan(workload, {.device_bytes = limit});
    const double seconds = plan.predicted.seconds();
    CAPTURE(limit);
    CHECK(seconds <= before * 1.05);  // the search is greedy: it may miss a little
    before = seconds;
  }
}

TEST_CASE(
    "budgeter: beside a slow link the host takes units of a GPU's small passes, not of large") {
  const TestModel model(tiny_reference("quants").gguf);
  const Workload workload{.prompt_tokens = 200, .max_tokens = 64, .context_tokens = 264};
  PlanLimits limits{.gpu = true, .host_computes = true};
  limits.device_bytes = smallest_limit_bytes(model.layout, workload, limits) + 30'000;
  Hardware hardware = test_hardware();
  hardware.to_device = {.bytes_per_second = 1e8, .latency_seconds = 1e-6};
  hardware.to_host = hardware.to_device;
  const Plan slow = make_plan(model.layout, workload, limits, hardware);
  CHECK(slow.host_units(1) > 0);
  CHECK(slow.host_units(200) == 0);
  PlanLimits none = limits;
  none.host_units = 0;
  const Plan streamed = make_plan(model.layout, workload, none, hardware);
  CHECK(streamed.host_units(1) == 0);
  CHECK(slow.predicted.decode_pass_seconds < 0.8 * streamed.predicted.decode_pass_seconds);
  hardware.to_device.bytes_per_second = 1e12;
  CHECK(make_plan(model.layout, workload, limits, hardware).host_units(1) == 0);
}

TEST_CASE("cost model: a pass takes as long as the longer of copying and computing, or their sum") {
  const TestModel model(tiny_reference("f32").gguf);
  Plan plan = model.plan({}, {});
  for (Placement& p : plan.placement) p = Placement::kHost;
  plan.slot_bytes = 16'384;
  Hardware hardware = test_hardware();
  hardware.device.step_seconds = 0.0;
  hardware.to_host.latency_seconds = 0.0;
  hardware.to_device.latency_seconds = 0.0;
  const PassSize size{.tokens = 64, .keys = 64, .rows = 1};
  const auto pass = [&](std::size_t slots) {
    plan.slots = slots;
    return predict_pass_seconds(model.layout, plan, make_schedule(model.layout, plan), hardware,
                                size);
  };
  double computing = 0.0;
  plan.slots = 1;
  for (const Piece& piece : make_schedule(model.layout, plan).pieces) {
    computing += predict_piece(model.layout, hardware.device, KvType::kF16, piece, size).alone();
  }
  const double bytes = static_cast<double>(plan.streamed_bytes(model.layout, size.tokens));
  for (const double ratio : {0.2, 1.0, 5.0}) {  // copying to computing
    CAPTURE(ratio);
    hardware.to_device.bytes_per_second = bytes / (ratio * computing);
    const double longer = std::max(computing, ratio * computing);
    CHECK(pass(1) >= 0.95 * (1.0 + ratio) * computing);
    CHECK(pass(4) >= 0.999 * longer);
    CHECK(pass(4) <= 1.35 * longer);  // pieces differ: not all of it can overlap
  }
}
