#include "offload/bound.h"

#include <doctest/doctest.h>

#include "cli/memory_model.h"
#include "tests/support/engine_fixture.h"

using namespace sluice;

namespace {

// The shape "tiny" in F16, whose sizes are small enough to be written down.
constexpr double kLayerWeights = 2 * 256 * 256 + 2 * 128 * 256 + 3 * 512 * 256;
constexpr double kHeadWeights = 512 * 256;
constexpr double kKeyBytes = 2 * 128 * 2 * 2;  // key and value, 2 layers of 128 halves

struct Tiny {
  explicit Tiny(DType type)
      : memory(SyntheticModel(*find_shape("tiny"), type, 1), {}, nullptr), model(memory.path()) {}
  MemoryModel memory;
  TestModel model;
};

constexpr MachineRates kEndless = {1e30, 1e30, 1e30, 1e30, 1e30};
constexpr Workload kWorkload = {.prompt_tokens = 16, .max_tokens = 16, .context_tokens = 32};

}  // namespace

TEST_CASE("bound: decoding reads all weights a pass, and each sequence's cache") {
  const Tiny tiny(DType::kF16);
  const Plan plan = tiny.model.plan(kWorkload, {.in_place = true});
  MachineRates rates = kEndless;
  rates.read_bytes_per_second = 1.0;
  const Bound bound = bound_of(tiny.model.layout, plan, rates, {}, {3, 2, 3, 10, 6});
  const double weights = 2 * (2 * kLayerWeights + kHeadWeights);
  CHECK(bound.by == "read");
  CHECK(bound.seconds == doctest::Approx(3 * weights + 2 * (11 + 12 + 13) * kKeyBytes));
}

TEST_CASE("bound: a prompt multiplies every weight by every token, but the head by the last") {
  const Tiny tiny(DType::kF16);
  const Plan plan = tiny.model.plan(kWorkload, {.in_place = true});
  MachineRates rates = kEndless;
  rates.fp32_per_second = 1.0;
  const Bound bound = bound_of(tiny.model.layout, plan, rates, {}, {1, 1, 16, 0, 1});
  const double keys = 16 * 17 / 2;
  CHECK(bound.by == "fp32");
  CHECK(bound.seconds ==
        doctest::Approx(2 * 16 * 2 * kLayerWeights + 2 * kHeadWeights + 2 * 4 * 256 * keys));
}

TEST_CASE("bound: each type of weights is held against its own arithmetic") {
  const PassWork prompt = {1, 1, 16, 0, 1};
  const MachineRates rates = {1e30, 1e30, 4.0, 2.0, 1.0};  // fp32, bf16, int8
  const auto by = [&](DType type, const MachineRates& r) {
    const Tiny tiny(type);
    const Plan plan = tiny.model.plan(kWorkload, {.in_place = true});
    return bound_of(tiny.model.layout, plan, r, {}, prompt).by;
  };
  CHECK(by(DType::kQ4_K, rates) == "int8");
  CHECK(by(DType::kBF16, rates) == "bf16");
  CHECK(by(DType::kF32, rates) == "fp32");
  CHECK(by(DType::kBF16, {1e30, 1e30, 4.0, 0.0, 1.0}) == "fp32");
}

TEST_CASE("bound: what is streamed crosses the link in every pass, the head where it is wanted") {
  const Tiny tiny(DType::kF16);
  const Plan plan = tiny.model.plan(kWorkload, {.device_bytes = 4u << 20, .slots = 2});
  REQUIRE(plan.streamed_bytes(tiny.model.layout, 1) == 0);  // there is room: nothing streams
  const LinkSpeed link{.bytes_per_second = 1.0};
  const Bound none = bound_of(tiny.model.layout, plan, kEndless, link, {2, 1, 16, 0, 1});
  CHECK(none.seconds < 1.0);

  Plan streamed = plan;
  streamed.placement.assign(streamed.placement.size(), Placement::kHost);
  const Bound bound = bound_of(tiny.model.layout, streamed, kEndless, link, {2, 1, 16, 0, 1});
  CHECK(bound.by == "link");
  CHECK(bound.seconds == doctest::Approx(2 * (2 * 2 * kLayerWeights + kHeadWeights)));
}

TEST_CASE("bound: a GPU multiplies by tensor cores, but for what has to stay in f32") {
  const PassWork prompt = {1, 1, 16, 0, 1};
  const GpuRates rates{1e30, 2.0, 1.0, {1e30, 0.0}, {}};
  const auto bound = [&](DType type, Precision precision) {
    const Tiny tiny(type);
    const Plan plan = tiny.model.plan(kWorkload, {.in_place = true, .precision = precision});
    return bound_of(tiny.model.layout, plan, rates, prompt);
  };
  const Bound halves = bound(DType::kF16, Precision::kNormal);
  const double keys = 16 * 17 / 2;
  CHECK(halves.by == "tensor");
  CHECK(
      halves.seconds ==
      doctest::Approx((2 * 16 * 2 * kLayerWeights + 2 * kHeadWeights + 2 * 4 * 256 * keys) / 2.0));
  CHECK(bound(DType::kQ4_K, Precision::kNormal).by == "tensor");
  CHECK(bound(DType::kQ4_K, Precision::kHigh).by == "fp32");
  CHECK(bound(DType::kF32, Precision::kNormal).by == "fp32");
}

TEST_CASE("bound: a GPU reads its own memory, and is sent what is streamed") {
  const Tiny tiny(DType::kF16);
  Plan plan = tiny.model.plan(kWorkload, {.in_place = true});
  const PassWork work = {2, 1, 16, 0, 1};
  const double weights = 2 * (2 * 2 * kLayerWeights + kHeadWeights);
  const GpuRates slow_memory{1.0, 1e30, 1e30, {1e30, 0.0}, {}};
  CHECK(bound_of(tiny.model.layout, plan, slow_memory, work).by == "read");
  const GpuRates slow_link{1e30, 1e30, 1e30, {1.0, 0.0}, {}};
  plan.placement.assign(plan.placement.size(), Placement::kHost);
  const Bound bound = bound_of(tiny.model.layout, plan, slow_link, work);
  CHECK(bound.by == "link");
  CHECK(bound.seconds == doctest::Approx(weights));
}

TEST_CASE("bound: what the host computes is streamed in large passes only, and then read") {
  const Tiny tiny(DType::kF16);
  Plan plan = tiny.model.plan(kWorkload, {.in_place = true});
  plan.placement.assign(plan.placement.size(), Placement::kHost);
  plan.routes = {{.tokens = 4, .by_host = std::vector<bool>(plan.placement.size(), true)}};
  const GpuRates slow_link{1e30, 1e30, 1e30, {1.0, 0.0}, {}};
  CHECK(bound_of(tiny.model.layout, plan, slow_link, {2, 2, 4, 0, 4}).seconds < 1.0);
  CHECK(bound_of(tiny.model.layout, plan, slow_link, {2, 2, 5, 0, 4}).by == "link");
  const GpuRates slow_memory{1.0, 1e30, 1e30, {1e30, 0.0}, {}};
  const double cache = 2 * (2 * 3.0 / 2) * kKeyBytes;  // of 2 tokens in one pass
  CHECK(bound_of(tiny.model.layout, plan, slow_memory, {1, 2, 2, 0, 2}).seconds ==
        doctest::Approx(cache / 2));
}
