#include "offload/throughput.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "memory/units.h"

namespace sluice {

double BatchPlan::seconds() const {
  return static_cast<double>(rounds) * plan.predicted.seconds();
}

double BatchPlan::tokens_per_second() const {
  const Workload& w = plan.workload;
  return static_cast<double>(sequences * (w.prompt_tokens + w.max_tokens)) / seconds();
}

Workload least_workload(const Workload& workload, Goal goal) {
  Workload least = workload;
  if (goal == Goal::kThroughput) least.sequences = 1;
  return least;
}

BatchPlan make_batch_plan(const ModelLayout& model, const Workload& workload,
                          const PlanLimits& limits, const Hardware& hardware, Goal goal) {
  const std::size_t all = workload.sequences;
  const auto planned = [&](const Workload& round) {
    Plans plans = make_plans(model, round, limits, hardware);
    return BatchPlan{.plan = std::move(plans.fastest),
                     .runner_up = std::move(plans.runner_up),
                     .sequences = all,
                     .rounds = ceil_div(all, round.sequences)};
  };
  BatchPlan best = planned(least_workload(workload, goal));
  for (std::size_t at_once = 1; goal == Goal::kThroughput && at_once < all;) {
    at_once = std::min(2 * at_once, all);
    Workload round = workload;
    round.sequences = at_once;
    const std::size_t limit = limits.most_device_bytes();
    if (smallest_limit_bytes(model, round, limits) > limit) break;  // nor would more fit
    BatchPlan plan = planned(round);
    if (plan.seconds() < best.seconds()) best = std::move(plan);
  }
  return best;
}

}  // namespace sluice
