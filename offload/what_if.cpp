#include "offload/what_if.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "memory/parallel.h"
#include "memory/units.h"

namespace sluice {
namespace {

// A GiB, where that is a step and not a leap.
std::size_t step_of(std::size_t limit_bytes) {
  return limit_bytes < 4_GiB ? limit_bytes / 10 : 1_GiB;
}

std::optional<BatchPlan> find_runner_up(const ModelLayout& model, const PlanLimits& limits,
                                        const Hardware& hardware, const BatchPlan& best) {
  BatchPlan other = best;
  other.runner_up.reset();
  if (best.plan.host_tokens() > 0 && limits.may_stream_all()) {
    PlanLimits streaming = limits;
    streaming.host_units = 0;
    other.plan = make_plan(model, best.plan.workload, streaming, hardware);
    return other;
  }
  if (!best.runner_up) return std::nullopt;
  other.plan = *best.runner_up;
  return other;
}

}  // namespace

WhatIf make_what_if(const ModelLayout& model, const Workload& workload, const PlanLimits& limits,
                    const Hardware& hardware, Goal goal, const BatchPlan& best) {
  WhatIf what;
  constexpr std::size_t kMostLimit = std::numeric_limits<std::size_t>::max() / 2;
  const std::size_t limit = limits.device_bytes.value_or(0);
  if (limit <= kMostLimit) what.step_bytes = step_of(limit);
  const auto with_limit = [&](std::size_t bytes) {
    PlanLimits changed = limits;
    changed.device_bytes = bytes;
    return make_batch_plan(model, workload, changed, hardware, goal);
  };
  const auto plan_more = [&] {
    what.more = with_limit(limit + what.step_bytes);
    if (what.more->seconds() <= best.seconds()) return;
    // A plan that keeps this limit keeps a larger one too.
    what.more = best;
    what.more->plan.limit_bytes = limit + what.step_bytes;
  };
  const std::size_t smallest = smallest_limit_bytes(model, least_workload(workload, goal), limits);
  const auto plan_less = [&] {
    if (smallest <= limit - what.step_bytes) what.less = with_limit(limit - what.step_bytes);
  };
  // Each has a plan, so none throws.
  parallel_for(3, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      if (i == 0) what.runner_up = find_runner_up(model, limits, hardware, best);
      if (i == 1 && what.step_bytes > 0) plan_more();
      if (i == 2 && what.step_bytes > 0) plan_less();
    }
  });
  return what;
}

}  // namespace sluice
