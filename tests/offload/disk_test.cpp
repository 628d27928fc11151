// Units that lie on the disk.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <random>

#include "layers/pieces.h"
#include "memory/units.h"
#include "offload/cost_model.h"
#include "offload/disk_probe.h"
#include "offload/host_budget.h"
#include "tests/support/engine_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/reference_data.h"
#include "tests/support/synthetic_file.h"
#include "tests/support/temporary_folder.h"

using namespace sluice;

namespace {

using Tokens = std::vector<std::int32_t>;

// Units anywhere, pieces of any size, any number of slots and buffers; the host computes some, and
// attends in some layers.
Plan random_plan(const TestModel& model, const Workload& workload, std::mt19937& random) {
  const auto below = [&](std::size_t n) { return random() % n; };
  Plan plan = model.plan(workload, {.segment_tokens = 1 + below(100)});
  plan.slots = 1 + below(4);
  plan.disk_buffers = 1 + below(5);
  plan.slot_bytes = 0;
  for (const UnitInfo& unit : model.layout.units) {
    plan.slot_bytes = std::max(plan.slot_bytes, largest_panel_bytes(unit));
  }
  plan.slot_bytes = align_up(plan.slot_bytes + below(40'000));
  plan.disk_buffer_bytes = plan.slot_bytes + below(3) * plan.slot_bytes;
  Route route{.tokens = 1 + below(20), .by_host = std::vector<bool>(plan.placement.size())};
  const std::size_t share = 1 + below(4);
  for (std::size_t unit = 0; unit < plan.placement.size(); ++unit) {
    constexpr Placement kOthers[] = {Placement::kResident, Placement::kHost};
    plan.placement[unit] = below(share) == 0 ? Placement::kDisk : kOthers[below(2)];
    const bool may = model.layout.units[unit].kind == UnitKind::kFeedForward;
    route.by_host[unit] =
        may && is_outside(plan.placement[unit]) && below(2) == 0 && plan.segment_tokens > 1;
  }
  if (plan.disk_bytes(model.layout) == 0) plan.placement.front() = Placement::kDisk;
  route.tokens = std::min(route.tokens, plan.segment_tokens);
  plan.routes = {route};
  if (below(2) == 0) plan.cache_on_host(below(model.layout.config.layers + 1));
  count_bytes(model.layout, plan);
  plan.limit_bytes = plan.bytes.total();
  return plan;
}

}  // namespace

TEST_CASE("disk: any run of passes takes pieces in their order, and a ring of any size will do") {
  std::mt19937 random(8);
  const TestModel model(tiny_reference("quants").gguf);
  for (int round = 0; round < 300; ++round) {
    const Plan plan = random_plan(model, {}, random);
    const Schedule schedule = make_schedule(model.layout, plan);
    for (const Step& step : schedule.prologue) CHECK(!schedule.on_disk[step.piece]);
    for (const std::size_t route : {0, 1}) {
      for (const bool logits : {false, true}) {
        std::size_t last = 0;
        std::size_t taken = 0;
        const auto take = [&](std::size_t piece) {
          if (!schedule.on_disk[piece]) return;
          CHECK((taken == 0 || piece > last));
          last = piece;
          ++taken;
        };
        for (const Step& step : pass_steps(model.layout, plan, schedule, route, logits)) {
          if (step.kind == StepKind::kCopy) take(step.piece);
          if (step.kind != StepKind::kHost) continue;
          const std::size_t unit = schedule.pieces[step.piece].unit;
          for (std::size_t p = step.piece; p < schedule.unit[unit + 1]; ++p) take(p);
        }
        const std::size_t units = model.layout.units.size() - (logits ? 0 : 1);
        CHECK(taken ==
              static_cast<std::size_t>(std::count(
                  schedule.on_disk.begin(),
                  schedule.on_disk.begin() + static_cast<std::ptrdiff_t>(schedule.unit[units]),
                  true)));
      }
    }
  }
}

TEST_CASE("disk: where units lie, and who computes them, changes no bit of the logits") {
  std::mt19937 random(9);
  const char* names[] = {"f32", "bf16", "f16", "quants", "k_quants", "f32_all_bias"};
  for (int round = 0; round < 40; ++round) {
    const TinyReference& reference = tiny_reference(names[random() % 6]);
    const TestModel model(reference.gguf);
    std::vector<Tokens> sequences(1 + random() % 3);
    Workload workload{.sequences = sequences.size(), .context_tokens = 100, .all_logits = true};
    for (Tokens& tokens : sequences) {
      tokens.resize(1 + random() % 90);
      for (std::int32_t& id : tokens) id = reference.ids[random() % reference.ids.size()];
    }
    const Plan plan = random_plan(model, workload, random);
    const LinkSpeed link{.bytes_per_second = random() % 2 == 0 ? 0.0 : 2e9};
    const Plan in_place = model.plan(workload, {.in_place = true});
    CAPTURE(round);
    CAPTURE(reference.name);
    CHECK(score_all(model, plan, link, sequences) ==
          score_all(model, in_place, {}, sequences, true));
  }
}

TEST_CASE("disk: passes with and without logits, of any size, in any order, give one answer") {
  std::mt19937 random(10);
  const TinyReference& reference = tiny_reference("quants");
  const TestModel model(reference.gguf);
  for (int round = 0; round < 15; ++round) {
    CAPTURE(round);
    const Workload workload{.context_tokens = 200};
    const Plan plan = random_plan(model, workload, random);
    TestEngine test(model, plan);
    TestEngine truth(model, model.plan(workload, {.in_place = true}), {}, true);
    for (int turn = 0; turn < 12; ++turn) {
      const auto length = static_cast<std::ptrdiff_t>(1 + random() % 30);
      const Tokens tokens(reference.ids.begin(), reference.ids.begin() + length);
      const Feed feed{0, tokens};
      if (test.engine.length(0) + tokens.size() > 200) {
        test.engine.truncate(0, 3);
        truth.engine.truncate(0, 3);
      }
      test.engine.feed({&feed, 1});
      truth.engine.feed({&feed, 1});
      CHECK(std::ranges::equal(test.engine.logits(0), truth.engine.logits(0)));
    }
    CHECK(test.engine.disk_bytes() > 0);
    CHECK(test.engine.counters().disk_seconds > 0.0);
  }
}

TEST_CASE("disk: plans keep the limit of host memory; the smallest that is named works") {
  const testing::TemporaryFolder folder;
  testing::write_synthetic(folder / "m.gguf", testing::kFewMegabytes, DType::kQ8_0);
  const TestModel model(folder / "m.gguf");
  const Workload workload{.prompt_tokens = 8, .max_tokens = 8, .context_tokens = 64};
  const Tokens tokens = {1, 2, 3, 4, 5, 6, 7, 8};
  const Feed feed{0, tokens};
  TestEngine truth(model, model.plan(workload, {.in_place = true}), {}, true);
  truth.engine.feed({&feed, 1});
  const PlanLimits kinds[] = {
      {}, {.host_units = 99}, {.host_cache_layers = 1}, {.host_computes = true, .host_units = 0}};
  for (const PlanLimits& kind : kinds) {
    PlanLimits limits = kind;
    const bool plain = &kind == kinds;
    CAPTURE(&kind - kinds);
    limits.device_bytes = smallest_limit_bytes(model.layout, workload, limits) + 500'000;
    const testing::Failure failure = testing::failure_of([&] {
      limits.host_bytes = 1;
      model.plan(workload, limits);
    });
    CHECK(failure.kind == ErrorKind::kOverBudget);
    CHECK(failure.says("--ram"));
    const std::size_t at = failure.message.find("works here is ");
    REQUIRE(at != std::string::npos);
    const std::size_t smallest = std::stoul(failure.message.substr(at + 14));
    std::size_t disk_before = static_cast<std::size_t>(-1);
    double seconds_before = 1e30;
    for (std::size_t ram = smallest; ram < smallest + 7_MiB; ram += 599'999) {
      CAPTURE(ram);
      limits.host_bytes = ram;
      const Plan plan = model.plan(workload, limits);
      CHECK(plan.host_bytes.total() <= ram);
      if (ram == smallest) CHECK(plan.disk_buffers > 0);
      TestEngine test(model, plan);
      test.engine.feed({&feed, 1});
      CHECK(std::ranges::equal(test.engine.logits(0), truth.engine.logits(0)));
      if (kind.host_cache_layers) CHECK(plan.host_bytes.cache > 0);
      if (plain) CHECK(plan.disk_bytes(model.layout) <= disk_before);
      disk_before = plan.disk_bytes(model.layout);
      const double seconds = plan.predicted.seconds();
      if (plain) CHECK(seconds <= seconds_before * 1.05);
      seconds_before = seconds;
    }
    CHECK(disk_before == 0);
    limits.host_bytes = smallest - 1;
    CHECK(testing::failure_of([&] { model.plan(workload, limits); }).says("--ram"));
  }
}

TEST_CASE("disk: a pass that the disk binds is predicted to take what reading takes") {
  const testing::TemporaryFolder folder;
  testing::write_synthetic(folder / "m.gguf", testing::kFewMegabytes, DType::kQ8_0);
  const TestModel model(folder / "m.gguf");
  const Workload workload{.prompt_tokens = 8, .max_tokens = 8, .context_tokens = 64};
  PlanLimits limits{};
  limits.device_bytes = smallest_limit_bytes(model.layout, workload, limits) + 100'000;
  limits.host_bytes = 2_MiB;
  const Plan plan = model.plan(workload, limits);
  Hardware hardware = test_hardware();
  hardware.disk = {.bytes_per_second = 50e6, .latency_seconds = 0.0};
  const Schedule schedule = make_schedule(model.layout, plan);
  std::vector<TraceEntry> spans;
  const double seconds =
      predict_pass_seconds(model.layout, plan, schedule, hardware, {1, 10, 1}, &spans);
  const double reading = static_cast<double>(plan.disk_bytes(model.layout)) / 50e6;
  CHECK(reading > 0.0);
  CHECK(seconds >= reading * 0.999);
  CHECK(seconds < reading * 1.02);
  CHECK(std::ranges::count(spans, Lane::kDisk, &TraceEntry::lane) > 0);
  hardware.disk.bytes_per_second = 0.0;
  CHECK(predict_pass_seconds(model.layout, plan, schedule, hardware, {1, 10, 1}) < reading / 10);
}

TEST_CASE("disk: a file that becomes shorter while passes run is one clear error") {
  const testing::TemporaryFolder folder;
  for (const std::size_t left : {std::size_t{0}, std::size_t{5000}, std::size_t{100'000}}) {
    CAPTURE(left);
    const std::filesystem::path copy = folder / "m.gguf";
    std::filesystem::copy_file(tiny_reference("quants").gguf, copy,
                               std::filesystem::copy_options::overwrite_existing);
    const TestModel model(copy);
    const Workload workload{.context_tokens = 64};
    std::mt19937 random(11);
    Plan plan = random_plan(model, workload, random);
    for (Placement& p : plan.placement) p = Placement::kDisk;
    count_bytes(model.layout, plan);
    plan.limit_bytes = plan.bytes.total();
    TestEngine test(model, plan);
    const Tokens tokens = {1, 2, 3};
    const Feed feed{0, tokens};
    test.engine.feed({&feed, 1});
    std::filesystem::resize_file(copy, left);
    const testing::Failure failure = testing::failure_of([&] {
      for (int i = 0; i < 10; ++i) test.engine.feed({&feed, 1});
    });
    CHECK(failure.kind == ErrorKind::kIo);
    CHECK(failure.says("shorter"));
  }
}

TEST_CASE("disk: its speed is measured on the model's file") {
  const testing::TemporaryFolder folder;
  testing::write_synthetic(folder / "m.gguf", testing::kFewMegabytes, DType::kQ8_0);
  const LinkSpeed disk = probe_disk(ModelFile::open(folder / "m.gguf"));
  CHECK(disk.bytes_per_second > 1e6);
  CHECK(disk.latency_seconds > 0.0);
  CHECK(probe_disk(ModelFile::open(tiny_reference("quants").gguf)).bytes_per_second == 0.0);
}
