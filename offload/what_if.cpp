#include "offload/what_if.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "memory/units.h"

namespace sluice {
namespace {

// A GiB, where that is a step and not a leap.
std::size_t step_of(std::size_t limit_bytes) {
  return limit_bytes < 4_GiB ? limit_bytes / 10 : 1_GiB;
}

bool may_stream_all(const PlanLimits& limits) {
  return !limits.host_units && std::ranges::count(limits.pins, Pin::kByHost) == 0;
}

std::optional<BatchPlan> find_runner_up(const ModelLayout& model, const PlanLimits& limits,
                                        const Hardware& hardware, const BatchPlan& best) {
  BatchPlan other = best;
  other.runner_up.reset();
  if (best.plan.host_tokens() > 0 && may_stream_all(limits)) {
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
  what.runner_up = find_runner_up(model, limits, hardware, best);
  if (!limits.device_bytes) return what;
  const std::size_t limit = *limits.device_bytes;
  if (limit > std::numeric_limits<std::size_t>::max() / 2) return what;
  what.step_bytes = step_of(limit);
  PlanLimits changed = limits;
  changed.device_bytes = limit + what.step_bytes;
  what.more = make_batch_plan(model, workload, changed, hardware, goal);
  // A plan that keeps this limit keeps a larger one too.
  if (what.more->seconds() > best.seconds()) {
    what.more = best;
    what.more->plan.limit_bytes = changed.device_bytes;
  }
  changed.device_bytes = limit - what.step_bytes;
  if (smallest_limit_bytes(model, least_workload(workload, goal), changed) <=
      *changed.device_bytes) {
    what.less = make_batch_plan(model, workload, changed, hardware, goal);
  }
  return what;
}

}  // namespace sluice
