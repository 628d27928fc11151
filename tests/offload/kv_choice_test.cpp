// Which type keys and values are kept in.
#include "offload/kv_choice.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>

#include "memory/error.h"
#include "offload/piece_seconds.h"
#include "tests/support/expect_error.h"
#include "tests/support/reference_data.h"
#include "tests/support/shape_model.h"

using namespace sluice;

namespace {

const std::vector<KvType> kAll(kAllKvTypes.begin(), kAllKvTypes.end());

// What is chosen where each type's fastest plan takes so long; 0: it takes too much memory.
Plans chosen_of(const std::map<KvType, double>& seconds) {
  return choose_kv(kAll, [&](KvType kv) {
    if (seconds.at(kv) == 0.0) {
      throw Error(ErrorKind::kOverBudget, text("no room for ", kv_type_name(kv)));
    }
    Plans plans;
    plans.fastest.kv.type = kv;
    plans.fastest.predicted.decode_seconds = seconds.at(kv);
    return plans;
  });
}

KvType type_of(double f32, double f16, double q8_0) {
  return chosen_of({{KvType::kF32, f32}, {KvType::kF16, f16}, {KvType::kQ8_0, q8_0}})
      .fastest.kv.type;
}

}  // namespace

TEST_CASE("kv choice: the fastest type, and the most exact of those as fast to within 1 %") {
  CHECK(type_of(1.0, 1.0, 1.0) == KvType::kF32);
  CHECK(type_of(1.0, 0.995, 0.991) == KvType::kF32);
  CHECK(type_of(1.0, 0.985, 0.98) == KvType::kF16);
  CHECK(type_of(1.0, 0.97, 0.95) == KvType::kQ8_0);
  CHECK(type_of(1.0, 1.2, 0.995) == KvType::kF32);
  CHECK(type_of(0.0, 1.0, 0.999) == KvType::kF16);
  CHECK(type_of(0.0, 0.0, 5.0) == KvType::kQ8_0);
  CHECK(type_of(0.0, 1.0, 0.0) == KvType::kF16);
}

TEST_CASE(
    "kv choice: the other types' fastest is the runner-up; if all take too much, so is said") {
  const Plans plans = chosen_of({{KvType::kF32, 3.0}, {KvType::kF16, 2.0}, {KvType::kQ8_0, 1.0}});
  REQUIRE(plans.runner_up);
  CHECK(plans.runner_up->kv.type == KvType::kF16);
  const testing::Failure failure = testing::failure_of([] {
    chosen_of({{KvType::kF32, 0.0}, {KvType::kF16, 0.0}, {KvType::kQ8_0, 0.0}});
  });
  CHECK(failure.kind == ErrorKind::kOverBudget);
  CHECK(failure.says("no room for q8_0"));
}

TEST_CASE("kv choice: without a list as ever, with one those of it, the most exact first") {
  const TestModel exact(tiny_reference("f32").gguf);
  const TestModel halves(tiny_reference("f16").gguf);
  CHECK(kv_types_of(exact.layout, {}) == std::vector{KvType::kF32});
  CHECK(kv_types_of(halves.layout, {}) == std::vector{KvType::kF16});
  CHECK(kv_types_of(exact.layout, {.kv_types = {KvType::kQ8_0, KvType::kF16, KvType::kQ8_0}}) ==
        std::vector{KvType::kF16, KvType::kQ8_0});
}

TEST_CASE("budgeter: of several types of cache none alone is faster, nor takes less" *
          doctest::test_suite("long")) {
  std::mt19937 random(7);
  std::size_t quantised = 0;
  std::size_t halves = 0;
  for (int round = 0; round < 12; ++round) {
    CAPTURE(round);
    const ShapeModel shape(random_shape(random, 2 + random() % 4), "q4_0");
    const ModelLayout& model = shape.model.layout;
    const Workload workload{.sequences = 1 + random() % 4,
                            .prompt_tokens = 1 + random() % 300,
                            .max_tokens = 1 + random() % 300,
                            .context_tokens = 600 + random() % 4000};
    const Hardware hardware = random_hardware(random);
    PlanLimits both{.kv_types = {KvType::kF16, KvType::kQ8_0}, .host_computes = random() % 2 == 0};
    PlanLimits f16 = both;
    f16.kv_types = {KvType::kF16};
    PlanLimits q8_0 = both;
    q8_0.kv_types = {KvType::kQ8_0};
    const std::size_t smallest = smallest_limit_bytes(model, workload, both);
    CHECK(smallest == smallest_limit_bytes(model, workload, q8_0));
    const std::size_t needed = smallest_limit_bytes(model, workload, f16);
    CHECK(smallest <= needed);
    if (!both.host_computes) CHECK(smallest < needed);  // else both may be the host's
    const std::size_t least = round % 2 == 0 ? smallest : needed;
    const std::size_t limit = least + random() % (2 * model.units_bytes());
    both.device_bytes = f16.device_bytes = q8_0.device_bytes = limit;
    const Plan plan = make_plan(model, workload, both, hardware);
    const double seconds = plan.predicted.seconds();
    const double small = make_plan(model, workload, q8_0, hardware).predicted.seconds();
    CHECK(seconds <= 1.01 * small);
    if (limit >= needed) {
      const double exact = make_plan(model, workload, f16, hardware).predicted.seconds();
      CHECK(seconds <= 1.01 * exact);
      if (exact <= 1.01 * small) CHECK(plan.kv.type == KvType::kF16);
    }
    (plan.kv.type == KvType::kQ8_0 ? quantised : halves) += 1;
  }
  CHECK(quantised > 1);
  CHECK(halves > 1);
}

TEST_CASE("cost model: attention is as much faster on a type of cache as was measured, or read") {
  const TestModel model(tiny_reference("f32").gguf);
  const Piece whole =
      cut_unit(model.layout.units, 0, model.layout.units.front().size_bytes).front();
  ComputeRates rates = test_hardware().device;
  rates.step_seconds = 0.0;
  rates.element_seconds = {};
  const auto seconds = [&](KvType kv, const PassSize& size) {
    return predict_piece(model.layout, rates, kv, whole, size).between;
  };
  const PassSize one{.tokens = 3, .keys = 5000, .rows = 1, .sequences = 3};
  const PassSize many{.tokens = 64000, .keys = 5000, .rows = 1, .sequences = 1};
  CHECK(seconds(KvType::kQ8_0, one) == doctest::Approx(seconds(KvType::kF16, one)));
  rates.attention_shares[static_cast<std::size_t>(KvType::kQ8_0)] = {.one_token = 1.5, .many = 0.5};
  CHECK(1.5 * seconds(KvType::kQ8_0, one) == doctest::Approx(seconds(KvType::kF16, one)));
  CHECK(0.5 * seconds(KvType::kQ8_0, many) == doctest::Approx(seconds(KvType::kF16, many)));
  rates.cache_bytes_per_second = 1e3;
  const ModelConfig& c = model.layout.config;
  const double halves_bytes = 3.0 * 5000.0 * 2 * 2 * static_cast<double>(c.kv_width());
  CHECK(seconds(KvType::kF16, one) == doctest::Approx(halves_bytes / 1e3));
  const double groups = static_cast<double>(c.kv_heads * ceil_div(c.head_dim, 32));
  const PassSize some{.tokens = 64, .keys = 5000, .rows = 1, .sequences = 3};
  CHECK(seconds(KvType::kQ8_0, some) ==
        doctest::Approx((halves_bytes / 2 + 3.0 * 5000.0 * 2 * 2 * groups) / 1e3));
}
