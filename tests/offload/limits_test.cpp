// Limits: a plan keeps them to the byte or there is none, and a run obeys the plan.
#include <doctest/doctest.h>

#include <algorithm>

#include "cli/plan_file.h"
#include "memory/error.h"
#include "memory/units.h"
#include "tests/support/expect_error.h"
#include "tests/support/reference_data.h"
#include "tests/support/shape_model.h"

using namespace sluice;

namespace {

Pin random_pin(std::mt19937& random, UnitKind kind) {
  switch (random() % 8) {
    case 0:
      return Pin::kResident;
    case 1:
      return Pin::kStreamed;
    case 2:
      return kind == UnitKind::kFeedForward ? Pin::kByHost : Pin::kNone;
    default:
      return Pin::kNone;
  }
}

// What users fix, some of it at a time.
PlanLimits random_limits(std::mt19937& random, const ModelLayout& model) {
  PlanLimits limits{.gpu = random() % 3 == 0, .host_computes = random() % 2 == 0};
  if (limits.gpu) limits.context_bytes = random() % 1_MiB;
  if (random() % 4 == 0) limits.slots = 1 + random() % 5;
  if (random() % 4 == 0) limits.segment_tokens = 1 + random() % 40;
  for (const KvType type : kAllKvTypes) {
    if (random() % 4 == 0) limits.kv_types.push_back(type);
  }
  if (random() % 4 == 0) limits.precision = Precision::kHigh;
  if (random() % 4 == 0) limits.host_units = random() % 4;
  if (random() % 4 == 0) limits.host_cache_layers = random() % (model.config.layers + 2);
  if (random() % 3 == 0) limits.cache_slots = random() % 3;
  if (random() % 3 == 0) {
    for (const UnitInfo& unit : model.units) limits.pins.push_back(random_pin(random, unit.kind));
    limits.host_computes |= std::ranges::count(limits.pins, Pin::kByHost) > 0;
  }
  if (random() % 5 == 0) {
    const auto pinned = static_cast<std::size_t>(std::ranges::count(limits.pins, Pin::kResident));
    const auto free = limits.pins.empty()
                          ? model.units.size()
                          : static_cast<std::size_t>(std::ranges::count(limits.pins, Pin::kNone));
    limits.resident_units = pinned + random() % (free + 1);
  }
  return limits;
}

void check_limits(std::size_t cases, unsigned seed) {
  std::mt19937 random(seed);
  std::size_t refusals = 0;
  std::size_t by_ram = 0;  // that host memory has too little room for caches
  for (std::size_t i = 0; i < cases; ++i) {
    CAPTURE(i);
    const char* const weights[] = {"q4_0", "q4_k_m", "f16", "q8_0"};
    const ShapeModel shape(random_shape(random, 1 + random() % 6), weights[random() % 4]);
    const ModelLayout& model = shape.model.layout;
    const Workload workload{.sequences = 1 + random() % 6,
                            .prompt_tokens = 1 + random() % 300,
                            .max_tokens = 1 + random() % 100,
                            .context_tokens = 400 + random() % 400,
                            .all_logits = random() % 4 == 0};
    PlanLimits limits = random_limits(random, model);
    const Hardware hardware = random_hardware(random);
    if (random() % 2 == 0 && limits.may_stream_all() && !limits.host_cache_layers) {
      // Enough for buffers of the disk, and for some of the caches.
      const std::size_t tokens = workload.cache_pages() * kPageTokens;
      const std::size_t token_bytes = 4 * model.config.layers * model.config.kv_width();
      limits.host_bytes = 16_MiB + random() % (tokens * token_bytes);
    }
    const std::size_t smallest = smallest_limit_bytes(model, workload, limits);
    PlanLimits any_ram = limits;
    any_ram.host_bytes.reset();
    const std::size_t smallest_of_all = smallest_limit_bytes(model, workload, any_ram);
    by_ram += smallest_of_all < smallest;
    limits.device_bytes = random() % (3 * smallest);
    CAPTURE(smallest);
    CAPTURE(*limits.device_bytes);
    const auto keeps_both = [&] {
      const Plan plan = make_plan(model, workload, limits, hardware);
      return plan.bytes.total() <= *limits.device_bytes &&
             (!limits.host_bytes || plan.host_bytes.total() <= *limits.host_bytes);
    };
    if (*limits.device_bytes >= smallest) {
      CHECK(keeps_both());
      continue;
    }
    ++refusals;
    const auto refusal = [&] { make_plan(model, workload, limits, hardware); };
    const testing::Failure failure = testing::failure_of(refusal);
    CHECK(failure.kind == ErrorKind::kOverBudget);
    if (*limits.device_bytes < smallest_of_all) {
      CHECK(failure.says(text("the smallest that works here is ", smallest, " bytes")));
    } else {
      CHECK(failure.says("raise --ram"));
    }
    limits.device_bytes = smallest;
    CHECK(keeps_both());
    limits.device_bytes = smallest - 1;
    CHECK(testing::failure_of(refusal).kind == ErrorKind::kOverBudget);
  }
  CHECK(refusals > cases / 10);
  CHECK(by_ram > 0);
}

using Sequences = std::vector<std::vector<std::int32_t>>;

Sequences sequences_of(const TinyReference& reference, std::size_t count, std::size_t longest) {
  Sequences sequences;
  for (std::size_t s = 0; s < count; ++s) {
    std::vector<std::int32_t> tokens;
    for (std::size_t t = 0; t < 1 + (37 * s + longest - 1) % longest; ++t) {
      tokens.push_back(reference.ids[(t * (s + 1)) % reference.ids.size()]);
    }
    sequences.push_back(std::move(tokens));
  }
  return sequences;
}

// Saved, read, and run on a device with not a byte more: the same logits as with no limit.
void check_runs(std::size_t cases, unsigned seed) {
  std::mt19937 random(seed);
  std::size_t streamed = 0;
  std::size_t by_host = 0;
  std::size_t quantised = 0;
  std::size_t attended = 0;
  std::size_t copied = 0;
  for (std::size_t i = 0; i < cases; ++i) {
    const TinyReference& reference = tiny_references()[i % tiny_references().size()];
    CAPTURE(i);
    CAPTURE(reference.name);
    const TestModel model(reference.gguf);
    const std::size_t longest = 20 + random() % 100;
    const Sequences sequences = sequences_of(reference, 1 + random() % 4, longest);
    const Workload workload{.sequences = sequences.size(),
                            .prompt_tokens = longest,
                            .max_tokens = 1,
                            .context_tokens = longest,
                            .all_logits = true};
    PlanLimits limits = random_limits(random, model.layout);
    limits.gpu = false;
    limits.context_bytes = 0;
    const std::size_t smallest = smallest_limit_bytes(model.layout, workload, limits);
    limits.device_bytes = smallest + random() % model.layout.units_bytes();
    const Plan made = make_plan(model.layout, workload, limits, random_hardware(random));
    Plan plan = parse_plan_file(print_plan_file(model.layout, made), "FILE", model.layout);
    const PlanLimits free{.kv_types = {made.kv.type}, .precision = limits.precision};
    const AllLogits truth = score_all(model, model.plan(workload, free), {}, sequences);
    streamed += plan.slots > 0;
    quantised += plan.kv.type == KvType::kQ8_0;
    by_host += plan.host_tokens() > 0;
    attended += plan.host_kv.layers > 0;
    copied += plan.cache_slots > 0;
    plan.limit_bytes = plan.bytes.total();
    const LinkSpeed link = i % 2 == 0 ? LinkSpeed{} : LinkSpeed{.bytes_per_second = 1e9};
    CHECK(score_all(model, plan, link, sequences) == truth);
    TestEngine engine(model, plan, link);
    CHECK(engine.reserved_bytes == plan.bytes.total());
  }
  CHECK(streamed > cases / 2);
  CHECK(by_host > cases / 16);
  CHECK(attended > cases / 8);
  CHECK(copied > cases / 40);
  CHECK(quantised > cases / 20);
}

// As somebody with an editor might: what fits together, but no budgeter would say.
void forge(std::mt19937& random, const ModelLayout& model, Plan& plan) {
  plan.segment_tokens = 1 + random() % 70;
  plan.slots = random() % 6;
  plan.slot_bytes = 1 + random() % 30'000;
  for (Placement& where : plan.placement) {
    where = random() % 3 == 0 ? Placement::kResident : Placement::kHost;
  }
  plan.routes.clear();
  for (std::size_t tokens = 1 + random() % 30; random() % 3 > 0; tokens += 1 + random() % 70) {
    Route route{.tokens = tokens, .by_host = std::vector<bool>(model.units.size())};
    for (std::size_t unit = 0; unit < model.units.size(); ++unit) {
      route.by_host[unit] = plan.placement[unit] == Placement::kHost && random() % 2 == 0 &&
                            model.units[unit].kind == UnitKind::kFeedForward;
    }
    plan.routes.push_back(std::move(route));
  }
  if (random() % 2 == 0) plan.cache_on_host(random() % (model.config.layers + 1));
  count_bytes(model, plan);
  plan.limit_bytes = plan.bytes.total();
}

void check_forged(std::size_t cases, unsigned seed) {
  std::mt19937 random(seed);
  std::size_t accepted = 0;
  for (std::size_t i = 0; i < cases; ++i) {
    const TinyReference& reference = tiny_references()[i % tiny_references().size()];
    CAPTURE(i);
    CAPTURE(reference.name);
    const TestModel model(reference.gguf);
    const Sequences sequences = sequences_of(reference, 1 + random() % 3, 60);
    const Workload workload{.sequences = sequences.size(),
                            .prompt_tokens = 60,
                            .max_tokens = 1,
                            .context_tokens = 60,
                            .all_logits = true};
    const KvType kv = kAllKvTypes[random() % kKvTypeCount];
    const Plan plain = model.plan(workload, {.kv_types = {kv}});
    Plan forged = model.plan(workload, {});
    forged.kv.type = kv;
    forge(random, model.layout, forged);
    std::optional<Plan> plan;
    try {
      plan = parse_plan_file(print_plan_file(model.layout, forged), "FILE", model.layout);
    } catch (const Error& error) {
      const std::string why = error.what();
      CAPTURE(why);
      const bool known = why.find("no slots") != std::string::npos ||
                         why.find("has slot_bytes") != std::string::npos ||
                         why.find("has tokens") != std::string::npos;
      CHECK(known);
      continue;
    }
    ++accepted;
    CHECK(score_all(model, *plan, {}, sequences) == score_all(model, plain, {}, sequences));
  }
  CHECK(accepted > cases / 4);
}

}  // namespace

TEST_CASE("limits: a plan fits, or the smallest limit that does is named, in 40 cases") {
  check_limits(40, 6);
}

TEST_CASE("limits: a plan fits, or the smallest limit that does is named, in 500 cases" *
          doctest::test_suite("slow")) {
  check_limits(500, 2);
}

TEST_CASE("limits: a run obeys every plan that it is given, 40 of them") {
  check_runs(40, 16);
}

TEST_CASE("limits: a run obeys every plan that it is given, 400 of them" *
          doctest::test_suite("slow")) {
  check_runs(400, 4);
}

TEST_CASE("limits: a forged plan is refused, or runs as any other") {
  check_forged(60, 5);
}
