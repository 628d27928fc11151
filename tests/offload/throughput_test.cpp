#include "offload/throughput.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "offload/what_if.h"
#include "tests/support/expect_error.h"
#include "tests/support/shape_model.h"

using namespace sluice;

namespace {

double round_seconds(const Plan& plan) {
  return plan.predicted.seconds();
}

}  // namespace

TEST_CASE(
    "throughput: no number of sequences at once that it knows is faster than the one chosen") {
  std::mt19937 random(8);
  for (int i = 0; i < 12; ++i) {
    CAPTURE(i);
    const ShapeModel shape(random_shape(random, 2 + random() % 5), "q4_0");
    const ModelLayout& model = shape.model.layout;
    const Hardware hardware = random_hardware(random);
    const Workload workload{.sequences = 1 + random() % 40,
                            .prompt_tokens = 1 + random() % 60,
                            .max_tokens = 1 + random() % 60,
                            .context_tokens = 120};
    Workload one = workload;
    one.sequences = 1;
    PlanLimits limits;
    limits.device_bytes =
        smallest_limit_bytes(model, one, limits) + random() % (2 * model.units_bytes());
    const BatchPlan best = make_batch_plan(model, workload, limits, hardware, Goal::kThroughput);
    CHECK(best.sequences == workload.sequences);
    CHECK(best.rounds * best.at_once() >= workload.sequences);
    CHECK((best.rounds - 1) * best.at_once() < workload.sequences);
    CHECK(best.plan.bytes.total() <= *limits.device_bytes);
    CHECK(best.seconds() ==
          doctest::Approx(static_cast<double>(best.rounds) * round_seconds(best.plan)));
    for (std::size_t at_once = 1; at_once <= workload.sequences; at_once *= 2) {
      Workload round = workload;
      round.sequences = at_once;
      if (smallest_limit_bytes(model, round, limits) > *limits.device_bytes) break;
      const Plan plan = make_plan(model, round, limits, hardware);
      CAPTURE(at_once);
      const auto rounds = static_cast<double>((workload.sequences + at_once - 1) / at_once);
      CHECK(best.seconds() <= rounds * round_seconds(plan));
    }
  }
}

TEST_CASE("throughput: for latency all sequences are worked on at once, or the limit is refused") {
  std::mt19937 random(9);
  const ShapeModel shape(random_shape(random, 3), "q4_0");
  const ModelLayout& model = shape.model.layout;
  const Workload workload{
      .sequences = 200, .prompt_tokens = 9, .max_tokens = 9, .context_tokens = 2000};
  PlanLimits limits;
  const std::size_t all = smallest_limit_bytes(model, workload, limits);
  limits.device_bytes = all;
  const auto plan = [&](Goal goal) {
    return make_batch_plan(model, workload, limits, test_hardware(), goal);
  };
  CHECK(plan(Goal::kLatency).at_once() == 200);
  CHECK(plan(Goal::kLatency).rounds == 1);
  limits.device_bytes = all - 1;
  CHECK(testing::failure_of([&] { plan(Goal::kLatency); }).kind == ErrorKind::kOverBudget);
  const BatchPlan fewer = plan(Goal::kThroughput);
  CHECK(fewer.at_once() < 200);
  CHECK(fewer.rounds > 1);
  limits.device_bytes =
      smallest_limit_bytes(model, least_workload(workload, Goal::kThroughput), {});
  CHECK(plan(Goal::kThroughput).at_once() == 1);
  --*limits.device_bytes;
  CHECK(testing::failure_of([&] { plan(Goal::kThroughput); }).kind == ErrorKind::kOverBudget);
}

TEST_CASE("what if: more memory is never told to be slower, and the runner-up is of another kind" *
          doctest::test_suite("long")) {
  std::mt19937 random(10);
  std::size_t runners_up = 0;
  for (int i = 0; i < 12; ++i) {
    CAPTURE(i);
    const ShapeModel shape(random_shape(random, 2 + random() % 5), "q4_0");
    const ModelLayout& model = shape.model.layout;
    const Hardware hardware = random_hardware(random);
    const Workload workload{.prompt_tokens = 50, .max_tokens = 50, .context_tokens = 120};
    PlanLimits limits{.host_computes = i % 2 == 0};
    const std::size_t smallest = smallest_limit_bytes(model, workload, limits);
    limits.device_bytes = smallest + (i == 0 ? 0 : random() % model.units_bytes());
    const BatchPlan best = make_batch_plan(model, workload, limits, hardware, Goal::kLatency);
    const WhatIf what = make_what_if(model, workload, limits, hardware, Goal::kLatency, best);
    CHECK(what.step_bytes == *limits.device_bytes / 10);
    REQUIRE(what.more);
    CHECK(what.more->seconds() <= best.seconds());
    CHECK(what.more->plan.limit_bytes == *limits.device_bytes + what.step_bytes);
    CHECK(what.less.has_value() == (*limits.device_bytes - what.step_bytes >= smallest));
    if (what.less) CHECK(what.less->plan.bytes.total() <= *limits.device_bytes - what.step_bytes);
    if (!what.runner_up) continue;
    ++runners_up;
    const Plan& other = what.runner_up->plan;
    CHECK(other.bytes.total() <= *limits.device_bytes);
    CHECK((other.slots != best.plan.slots || other.segment_tokens != best.plan.segment_tokens ||
           (best.plan.host_tokens() > 0 && other.host_tokens() == 0)));
  }
  CHECK(runners_up > 4);
}
