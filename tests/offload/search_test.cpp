// The budgeter's search, against every plan that there is, and at the size of real models.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <random>

#include "memory/error.h"
#include "memory/units.h"
#include "offload/cost_model.h"
#include "offload/routes.h"
#include "offload/schedule.h"
#include "tests/support/shape_model.h"

using namespace sluice;

namespace {

double seconds(const Plan& plan) {
  return plan.predicted.seconds();
}

// "R.HR 3 x 65536, 64, 1": resident, streamed, of the host in small passes; slots; segment; caches
// in host memory.
std::string describe(const Plan& plan) {
  std::string units;
  for (std::size_t u = 0; u < plan.placement.size(); ++u) {
    units += plan.placement[u] == Placement::kResident ? 'R' : plan.by_host(u, 0) ? 'H' : '.';
  }
  return text(units, " ", plan.slots, " x ", plan.slot_bytes, ", ", plan.segment_tokens, ", ",
              plan.host_kv.layers);
}

// The least seconds of a pass over all ways to share units out between link and host.
double least_pass_seconds(const TestModel& model, Plan& plan, Schedule& schedule,
                          const Hardware& hardware, const PassSize& size, bool host) {
  std::vector<std::size_t> units;
  for (std::size_t u = 0; host && u < plan.placement.size(); ++u) {
    const bool may = plan.placement[u] == Placement::kHost &&
                     model.layout.units[u].kind == UnitKind::kFeedForward;
    if (may) units.push_back(u);
  }
  double least = 1e30;
  for (std::size_t set = 0; set < std::size_t{1} << units.size(); ++set) {
    plan.routes = {
        {.tokens = size.tokens, .by_host = std::vector<bool>(plan.placement.size(), false)}};
    for (std::size_t i = 0; i < units.size(); ++i) {
      plan.routes.front().by_host[units[i]] = (set >> i & 1) != 0;
    }
    schedule.prologue = make_prologue(model.layout, plan, schedule);
    least = std::min(least, predict_pass_seconds(model.layout, plan, schedule, hardware, size));
  }
  return least;
}

// The least seconds of the workload over all such ways for each size of its passes together: what
// one size leaves to the host isn't on its way before the next pass of another.
double least_seconds(const TestModel& model, Plan& plan, Schedule& schedule,
                     const Hardware& hardware, bool host) {
  std::vector<std::size_t> sizes;
  std::vector<std::size_t> units;
  for (const PassCount& pass : passes_of(plan.workload, plan.segment_tokens).kinds) {
    if (pass.count > 0 && pass.size.tokens <= kMostHostTokens) sizes.push_back(pass.size.tokens);
  }
  std::ranges::sort(sizes);
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  for (std::size_t u = 0; host && u < plan.placement.size(); ++u) {
    const bool may = plan.placement[u] == Placement::kHost &&
                     model.layout.units[u].kind == UnitKind::kFeedForward;
    if (may) units.push_back(u);
  }
  const std::size_t sets = std::size_t{1} << (units.size() * sizes.size());
  double least = 1e30;
  for (std::size_t set = 0; set < sets; ++set) {
    plan.routes.clear();
    for (std::size_t s = 0; s < sizes.size(); ++s) {
      Route route{.tokens = sizes[s], .by_host = std::vector<bool>(plan.placement.size(), false)};
      for (std::size_t i = 0; i < units.size(); ++i) {
        route.by_host[units[i]] = (set >> (s * units.size() + i) & 1) != 0;
      }
      plan.routes.push_back(std::move(route));
    }
    schedule.prologue = make_prologue(model.layout, plan, schedule);
    const Prediction p = predict(model.layout, plan, schedule, hardware);
    least = std::min(least, p.seconds());
  }
  return least;
}

// Tries every set of resident units, with every shape of slots and segments that the search knows
// and, where the host computes, every number of caches in its memory.
double exhaustive_seconds(const TestModel& model, const Workload& workload,
                          const PlanLimits& limits, const Hardware& hardware, std::string* which) {
  const std::size_t units = model.layout.units.size();
  const std::size_t most_caches = limits.host_computes ? model.layout.config.layers : 0;
  std::size_t largest = 0;
  for (const UnitInfo& unit : model.layout.units) largest = std::max(largest, unit.size_bytes);
  double best = 1e30;
  const std::size_t prompts = workload.prompt_tokens * workload.sequences;
  for (std::size_t segment = 512; segment > 0; segment /= 2) {
    for (std::size_t divisor = 1; divisor <= 64; divisor *= 2) {
      for (const std::size_t slots : {2, 3, 4, 6, 8}) {
        PlanLimits shape = limits;
        shape.device_bytes.reset();
        Plan plan = make_plan(model.layout, workload, shape, hardware);
        plan.segment_tokens = std::min(segment, std::max<std::size_t>(prompts, 1));
        plan.slots = slots;
        plan.slot_bytes = align_up(std::max<std::size_t>(largest / divisor, 64_KiB));
        // One number holds the units that are resident and, above them, the caches in host memory.
        for (std::size_t choice = 0; choice < (most_caches + 1) << units; ++choice) {
          const std::size_t set = choice % (std::size_t{1} << units);
          plan.cache_on_host(choice >> units);
          for (std::size_t u = 0; u < units; ++u) {
            plan.placement[u] = (set >> u & 1) != 0 ? Placement::kResident : Placement::kHost;
          }
          const bool all = set + 1 == std::size_t{1} << units;
          plan.slots = all ? 0 : slots;
          count_bytes(model.layout, plan);
          if (plan.bytes.total() > *limits.device_bytes) continue;
          Schedule schedule = make_schedule(model.layout, plan);
          double total = 0.0;
          for (const PassCount& pass : passes_of(workload, plan.segment_tokens).kinds) {
            if (pass.count == 0 || total >= 1.2 * best) continue;
            total += static_cast<double>(pass.count) *
                     least_pass_seconds(model, plan, schedule, hardware, pass.size,
                                        limits.host_computes && pass.size.tokens <= 256);
          }
          constexpr double kMargin = 1.2;  // that the sizes apart may be off
          if (total >= kMargin * best) continue;
          total = least_seconds(model, plan, schedule, hardware, limits.host_computes);
          if (total >= best) continue;
          best = total;
          *which = describe(plan);
        }
      }
    }
  }
  return best;
}

void compare_with_all(std::size_t cases, unsigned seed) {
  std::mt19937 random(seed);
  double worst = 0.0;
  for (std::size_t i = 0; i < cases; ++i) {
    const std::size_t layers = 2 + random() % 2;
    const ShapeModel shape(random_shape(random, layers), random() % 2 == 0 ? "q4_0" : "f16");
    const std::size_t prompt = 1 + random() % 64;
    const Workload workload{.sequences = 1 + random() % 3,
                            .prompt_tokens = prompt,
                            .max_tokens = 1 + random() % 64,
                            .context_tokens = 128};
    PlanLimits limits{.host_computes = random() % 2 == 0};
    const Hardware hardware = random_hardware(random);
    const std::size_t smallest = smallest_limit_bytes(shape.model.layout, workload, limits);
    const std::size_t everything =
        make_plan(shape.model.layout, workload, limits, hardware).bytes.total();
    limits.device_bytes = smallest + random() % (everything - smallest);
    CAPTURE(i);
    CAPTURE(*limits.device_bytes);
    const Plan plan = make_plan(shape.model.layout, workload, limits, hardware);
    const double found = seconds(plan);
    std::string which;
    const double least = exhaustive_seconds(shape.model, workload, limits, hardware, &which);
    CAPTURE(describe(plan));
    CAPTURE(which);
    worst = std::max(worst, found / least);
    CHECK(found <= 1.02 * least);
  }
  MESSAGE("slower than the best of all plans by at most ", 100.0 * (worst - 1.0), " %");
}

void check_more_memory(std::size_t rounds, std::size_t steps) {
  std::mt19937 random(5);
  for (std::size_t round = 0; round < rounds; ++round) {
    const ShapeModel shape(random_shape(random, 2 + random() % 12), "q4_k_m");
    const Workload workload{.sequences = 1 + random() % 4,
                            .prompt_tokens = 1 + random() % 300,
                            .max_tokens = 1 + random() % 300,
                            .context_tokens = 600};
    PlanLimits limits{.host_computes = random() % 2 == 0};
    const Hardware hardware = random_hardware(random);
    const std::size_t smallest = smallest_limit_bytes(shape.model.layout, workload, limits);
    const std::size_t everything =
        make_plan(shape.model.layout, workload, limits, hardware).bytes.total();
    double before = 1e30;
    std::string plan_before;
    CAPTURE(round);
    for (std::size_t step = 0; step <= steps; ++step) {
      limits.device_bytes = smallest + (everything - smallest) * step / steps;
      CAPTURE(step);
      const Plan plan = make_plan(shape.model.layout, workload, limits, hardware);
      CAPTURE(describe(plan));
      CAPTURE(plan_before);
      CHECK(seconds(plan) <= 1.01 * before);
      before = seconds(plan);
      plan_before = describe(plan);
    }
  }
}

// What the search finds is hardly slower than what it finds when told how many slots there are and
// how long segments.
void compare_with_told(std::size_t rounds, std::size_t most_layers) {
  std::mt19937 random(11);
  for (std::size_t round = 0; round < rounds; ++round) {
    const ShapeModel shape(random_shape(random, most_layers / 2 + random() % (most_layers / 2)),
                           "q4_0");
    const Workload workload{.sequences = 1 + random() % 4,
                            .prompt_tokens = 1 + random() % 600,
                            .max_tokens = 1 + random() % 100,
                            .context_tokens = 1024};
    PlanLimits limits{.host_computes = true};
    const Hardware hardware = random_hardware(random);
    const std::size_t smallest = smallest_limit_bytes(shape.model.layout, workload, limits);
    const std::size_t everything =
        make_plan(shape.model.layout, workload, limits, hardware).bytes.total();
    limits.device_bytes = smallest + (everything - smallest) * (2 + random() % 6) / 10;
    const Plan free = make_plan(shape.model.layout, workload, limits, hardware);
    CAPTURE(round);
    CAPTURE(describe(free));
    for (const std::size_t slots : {2, 4, 12}) {
      for (const std::size_t segment : {64, 256, 1024}) {
        PlanLimits told = limits;
        told.slots = slots;
        told.segment_tokens = segment;
        if (smallest_limit_bytes(shape.model.layout, workload, told) > *limits.device_bytes) {
          continue;
        }
        const Plan plan = make_plan(shape.model.layout, workload, told, hardware);
        CAPTURE(describe(plan));
        CHECK(seconds(free) <= 1.05 * seconds(plan));
      }
    }
  }
}

}  // namespace

TEST_CASE("search: within 2 % of the best of all plans, on models small enough to try them all") {
  compare_with_all(1, 1);
}

// SLUICE_SEARCH_CASES: how many, 3 s each.
TEST_CASE("search: within 2 % of the best of all plans, in many cases" *
          doctest::test_suite("slow")) {
  const char* cases = std::getenv("SLUICE_SEARCH_CASES");
  compare_with_all(cases == nullptr ? 20 : std::strtoul(cases, nullptr, 10), 2);
}

TEST_CASE("search: more memory is never predicted to be slower, but for what the search misses" *
          doctest::test_suite("long")) {
  check_more_memory(1, 10);
}

TEST_CASE("search: more memory is never predicted to be slower, in many steps" *
          doctest::test_suite("slow")) {
  check_more_memory(8, 20);
}

TEST_CASE("search: what it is told about slots and segments doesn't make plans much faster") {
  compare_with_told(1, 10);
}

TEST_CASE("search: nor those of larger models" * doctest::test_suite("slow")) {
  compare_with_told(12, 40);
}
