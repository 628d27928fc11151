// The predictor's arithmetic, on machines whose rates are made up.
#include "offload/cost_model.h"

#include <doctest/doctest.h>

#include <cmath>

#include "offload/machine_probe.h"
#include "tests/support/engine_fixture.h"
#include "tests/support/reference_data.h"

using namespace sluice;

namespace {

constexpr double kLatency = 5e-6;

struct Case {
  TestModel model{tiny_reference("f32").gguf};
  Workload workload{.prompt_tokens = 4, .max_tokens = 8, .context_tokens = 64};

  Plan plan(std::optional<std::size_t> host_units = {}) const {
    PlanLimits limits{.slots = 2,
                      .host_computes = host_units.has_value(),
                      .host_units = host_units,
                      .host_cache_layers = 0};
    limits.device_bytes = smallest_limit_bytes(model.layout, workload, limits);
    return model.plan(workload, limits);
  }
  double seconds(const Plan& plan, const Hardware& hardware) const {
    return predict_pass_seconds(model.layout, plan, make_schedule(model.layout, plan), hardware,
                                {1, 4, 1});
  }
};

}  // namespace

TEST_CASE("cost model: what lies between passes adds to each, and to a prompt once") {
  const Case c;
  const Plan plan = c.plan();
  const Schedule schedule = make_schedule(c.model.layout, plan);
  Hardware hardware = test_hardware();
  hardware.to_device = {.bytes_per_second = 1e15};
  const Prediction before = predict(c.model.layout, plan, schedule, hardware);
  hardware.pass_seconds = 1e-3;
  hardware.token_seconds = 1e-4;
  const Prediction after = predict(c.model.layout, plan, schedule, hardware);
  CHECK(after.decode_pass_seconds - before.decode_pass_seconds == doctest::Approx(1.1e-3));
  const auto first = static_cast<double>(std::min<std::size_t>(plan.segment_tokens, 4));
  CHECK(after.prefill_seconds - before.prefill_seconds == doctest::Approx(1e-3 + first * 1e-4));
}

TEST_CASE("cost model: a pace holds products back, not what lies between, and not below itself") {
  const Case c;
  const Piece whole =
      cut_unit(c.model.layout.units, 0, c.model.layout.units.front().size_bytes).front();
  const PassSize size{1, 4, 1};
  ComputeRates rates = test_hardware().device;
  const double fast = predict_piece(c.model.layout, rates, KvType::kF16, whole, size).alone();
  rates.pace.bytes_per_second = 1e15;
  CHECK(predict_piece(c.model.layout, rates, KvType::kF16, whole, size).alone() ==
        doctest::Approx(fast));
  rates.pace.bytes_per_second = 1e6;
  const double paced = predict_piece(c.model.layout, rates, KvType::kF16, whole, size).alone();
  rates.pace.bytes_per_second = 0.5e6;
  const double twice = predict_piece(c.model.layout, rates, KvType::kF16, whole, size).alone();
  double bytes = 0.0;
  for (const MatrixInfo& m : c.model.layout.units.front().matrices) {
    bytes += static_cast<double>(packed_bytes(m.type(), m.rows(), m.columns()));
  }
  CHECK(twice - paced == doctest::Approx(bytes / 1e6));
}

TEST_CASE("cost model: waiting for copies costs what it is told to, where anything is waited for") {
  const Case c;
  const Plan plan = c.plan();
  Hardware slow_link = test_hardware();
  slow_link.to_device = {.bytes_per_second = 1e6, .latency_seconds = kLatency};
  Hardware waits = slow_link;
  waits.wait_seconds = 1e-3;
  CHECK(c.seconds(plan, waits) >= c.seconds(plan, slow_link));
  Hardware fast_link = test_hardware();
  fast_link.to_device = {.bytes_per_second = 1e15};
  fast_link.device.element_seconds = ProductRate::in_proportion(1e-5);
  Hardware fast_waits = fast_link;
  fast_waits.wait_seconds = 1e-3;
  CHECK(c.seconds(plan, fast_waits) - c.seconds(plan, fast_link) < 5e-3);
}

TEST_CASE(
    "cost model: a pass that is a graph hands its operations over faster, and no other does") {
  const Case c;
  Plan plan = c.model.plan(c.workload, {});
  plan.gpu = true;
  const Schedule schedule = make_schedule(c.model.layout, plan);
  Hardware hardware = test_hardware();
  hardware.device.step_seconds = 3e-6;
  const auto seconds = [&](const Plan& of, std::size_t tokens) {
    return predict_pass_seconds(c.model.layout, of, make_schedule(c.model.layout, of), hardware,
                                {tokens, 4, 1});
  };
  Plan streamed = c.plan();
  streamed.gpu = true;
  const double before = seconds(plan, 1);
  const double many_before = seconds(plan, kFewTokens + 1);
  const double streamed_before = seconds(streamed, 1);
  hardware.device.graph_step_seconds = 1e-6;
  // Of a layer: two norms, its products in four, rotation, attention and activation. Of the head:
  // norm and product.
  const auto steps = static_cast<double>(9 * c.model.layout.config.layers + 2);
  CHECK(before - seconds(plan, 1) == doctest::Approx(steps * 2e-6));
  CHECK(seconds(plan, kFewTokens + 1) == many_before);
  CHECK(seconds(streamed, 1) == streamed_before);
}

TEST_CASE("cost model: a host's unit costs its turn, and its small copies delay those of weights") {
  const Case c;
  const Plan plan = c.plan(1);
  REQUIRE(plan.host_units(1) == 1);
  Hardware hardware = test_hardware();
  const double before = c.seconds(plan, hardware);
  hardware.turn_seconds = 1e-3;
  CHECK(c.seconds(plan, hardware) > before);
  CHECK(c.seconds(plan, hardware) <= doctest::Approx(before + 1e-3));
}

TEST_CASE("cost model: a layer that the host attends costs its rows, its turn and its own rates") {
  const Case c;
  const ModelConfig& config = c.model.layout.config;
  Plan plan = c.model.plan(c.workload, {});  // all resident: nothing else is copied
  Hardware hardware = test_hardware();
  const auto same = [](double a, double b) { CHECK(a / b == doctest::Approx(1.0).epsilon(1e-4)); };
  for (const std::size_t tokens : {1, 40}) {
    CAPTURE(tokens);
    const PassSize size{.tokens = tokens, .keys = 5000, .rows = 1};
    const auto seconds = [&](std::size_t layers) {
      plan.cache_on_host(layers);
      return predict_pass_seconds(c.model.layout, plan, make_schedule(c.model.layout, plan),
                                  hardware, size);
    };
    hardware.host = hardware.device;
    hardware.turn_seconds = 1e-5;
    const double on_device = seconds(0);
    const UnitInfo& attention = c.model.layout.units.front();
    const std::size_t down = mixed_row_bytes(config) * tokens;
    const std::size_t up = attended_row_bytes(config, attention, plan.precision) * tokens;
    const double moving = hardware.to_host.latency_seconds + hardware.to_device.latency_seconds +
                          static_cast<double>(down) / hardware.to_host.bytes_per_second +
                          static_cast<double>(up) / hardware.to_device.bytes_per_second;
    for (std::size_t layers = 1; layers <= config.layers; ++layers) {
      same(seconds(layers) - on_device, static_cast<double>(layers) * (moving + 1e-5));
    }
    const double alike = seconds(1);
    const double operations =
        4.0 * static_cast<double>(tokens * config.query_width()) * attended_keys(5000.0);
    const double before = operations / hardware.host.attention_operations_per_second;
    hardware.host.attention_one_token_operations_per_second /= 3.0;
    hardware.host.attention_operations_per_second /= 3.0;
    same(seconds(1) - alike, 2.0 * before);
    hardware.host = hardware.device;
    // What memory allows: one token meets each key and value once, many share them.
    hardware.host.cache_bytes_per_second = 1e6;
    const double reading =
        5000.0 * static_cast<double>(plan.host_kv.page_bytes() / kPageTokens) / 1e6;
    same(seconds(1) - alike, reading - before);
    hardware.host.cache_bytes_per_second = 0.0;
  }
}

TEST_CASE("cost model: pages that go through cache slots take the link's time, or none") {
  const Case c;
  const std::size_t layers = c.model.layout.config.layers;
  Plan plan = c.model.plan(c.workload, {});  // all resident: nothing else is copied
  Hardware hardware = test_hardware();
  for (const std::size_t tokens : {1, 40, 300}) {
    CAPTURE(tokens);
    const PassSize size{.tokens = tokens, .keys = 5000, .rows = 1};
    const auto seconds = [&](std::size_t caches, double bytes_per_second) {
      plan.cache_on_host(caches);
      plan.cache_slots = std::min<std::size_t>(caches, 2);
      hardware.to_device.bytes_per_second = bytes_per_second;
      return predict_pass_seconds(c.model.layout, plan, make_schedule(c.model.layout, plan),
                                  hardware, size);
    };
    hardware.to_device.latency_seconds = 0.0;
    hardware.to_host = {.bytes_per_second = 1e15};
    const double on_device = seconds(0, 1e15);
    CHECK(seconds(layers, 1e15) == doctest::Approx(on_device).epsilon(1e-3));
    const double pages = std::ceil((5000.0 - static_cast<double>(tokens) / 2.0) / kPageTokens);
    const double slow = 1e5;
    const double copying = static_cast<double>(layers * plan.kv.page_bytes()) * pages / slow;
    const double input = seconds(0, slow) - on_device;
    CHECK(seconds(layers, slow) == doctest::Approx(copying + input).epsilon(0.01));
    // What comes back delays the next copy into its slot, and the end of the pass.
    const double before = seconds(layers, slow);
    hardware.to_host.latency_seconds = 1e-3;
    CHECK(seconds(layers, slow) > before);
    CHECK(seconds(layers, slow) < before + 1.1e-3 * static_cast<double>(layers));
  }
}

TEST_CASE("cost model: less share beside copies is never faster") {
  const Case c;
  const Plan plan = c.plan();
  Hardware hardware = test_hardware();
  hardware.to_device = {.bytes_per_second = 50e6, .latency_seconds = kLatency};
  hardware.device.element_seconds = ProductRate::in_proportion(1e-7);
  double before = 0.0;
  for (const double share : {1.0, 0.9, 0.5, 0.2}) {
    CAPTURE(share);
    hardware.device.share_beside_copies = share;
    const double now = c.seconds(plan, hardware);
    CHECK(now >= before * (1.0 - 1e-9));
    before = now;
  }
}

TEST_CASE("cost model: cores that copy slow computing down while they do, and no longer") {
  const Case c;
  const Plan plan = c.plan();
  Hardware hardware = test_hardware();
  hardware.to_device = {.bytes_per_second = 50e6, .latency_seconds = kLatency};
  hardware.device.element_seconds = ProductRate::in_proportion(1e-5);  // what binds
  const double undisturbed = c.seconds(plan, hardware);
  hardware.device.share_beside_copies = 0.5;
  const double by_others = c.seconds(plan, hardware);
  CHECK(by_others > 1.01 * undisturbed);
  hardware.copy_bytes_per_second = 1e15;
  CHECK(c.seconds(plan, hardware) / undisturbed == doctest::Approx(1.0));
  double before = 0.0;
  for (const double rate : {1e15, 1e9, 200e6, 60e6}) {
    CAPTURE(rate);
    hardware.copy_bytes_per_second = rate;
    const double now = c.seconds(plan, hardware);
    CHECK(now >= before * (1.0 - 1e-9));
    before = now;
  }
  CHECK(before > 1.01 * undisturbed);
  // What is copied more slowly than the link would bring it is there later.
  hardware.copy_bytes_per_second = 1e4;
  CHECK(c.seconds(plan, hardware) > 2.0 * by_others);
}

TEST_CASE("cost model: the host computes a unit uncut, whatever the slots") {
  const Case c;
  Hardware hardware = test_hardware();
  const Plan plan = c.plan(1);
  REQUIRE(make_schedule(c.model.layout, plan).pieces.size() > c.model.layout.units.size());
  const double before = c.seconds(plan, hardware);
  hardware.host.cut_seconds.fill(1e-3);
  CHECK(c.seconds(plan, hardware) == before);
  hardware.device.cut_seconds.fill(1e-3);
  CHECK(c.seconds(plan, hardware) > 5.0 * before);
}

TEST_CASE("cost model: attention scores whole pages, and queries of one sequence share loading") {
  CHECK(attended_keys(1.0) == doctest::Approx(0.5 * (kPageTokens + 1)));
  CHECK(attended_keys(10000.0) == doctest::Approx(10000.0 + kPageTokens / 4.0));
  const Case c;
  ComputeRates rates = test_hardware().device;
  rates.attention_one_token_operations_per_second = 1e9;
  rates.attention_operations_per_second = 4e9;
  const auto seconds = [&](std::size_t tokens, std::size_t sequences) {
    return attention_seconds(c.model.layout.config, rates, KvType::kF16,
                             {.tokens = tokens, .keys = 5000, .rows = 1, .sequences = sequences});
  };
  CHECK(seconds(64, 64) == doctest::Approx(64 * seconds(1, 1)));
  CHECK(seconds(64, 1) < seconds(64, 8));
  CHECK(seconds(64, 8) < seconds(64, 64));
  CHECK(seconds(64, 64) / seconds(6400, 1) == doctest::Approx(4.0 / 100.0).epsilon(0.01));
}

TEST_CASE("machine probe: plans get rates only for types that were measured") {
  const Case c;
  MachineRatesTable table;
  table.link = {{.bytes = 1 << 20,
                 .pinned = true,
                 .to_device_bytes_per_second = 3e9,
                 .to_host_bytes_per_second = 2e9},
                {.bytes = 1 << 20,
                 .pinned = false,
                 .to_device_bytes_per_second = 1e9,
                 .to_host_bytes_per_second = 1e9}};
  CHECK(!hardware_of(table, c.model.layout, Precision::kNormal, {}));
  ComputeRates& rates = table.host[index_of(Precision::kNormal)];
  rates.products[static_cast<std::size_t>(DType::kF32)] =
      ProductRate::roofline(DType::kF32, 10e9, 100e9);
  const auto measured = hardware_of(table, c.model.layout, Precision::kNormal, {});
  REQUIRE(measured);
  CHECK(measured->to_device.bytes_per_second == 3e9);
  CHECK(measured->to_host.bytes_per_second == 2e9);
  CHECK(!hardware_of(table, c.model.layout, Precision::kHigh, {}));
  const auto paced =
      hardware_of(table, c.model.layout, Precision::kNormal, {.bytes_per_second = 7e9});
  CHECK(paced->to_device.bytes_per_second == 7e9);
}
