// From limits to the fastest plan that keeps them.
#pragma once

#include "offload/hardware.h"
#include "offload/plan.h"

namespace sluice {

// Searches segment lengths, numbers and sizes of slots; fills what is left of the limit with units,
// those first that save most seconds a byte, spread along the layers so that copies have time to
// run between them; replays each candidate and keeps the fastest for the workload.
//
// Throws Error{kOverBudget} naming the smallest limit that would do. That limit is exact: it yields
// a plan, and one byte less does not. Reads no weights.
Plan make_plan(const ModelLayout& model, const Workload& workload, const PlanLimits& limits,
               const Hardware& hardware);

// The same, with the fastest of those plans that differ from it by more than which units are
// resident: in slots or segments, or in streaming any. None: there is one kind alone.
struct Plans {
  Plan fastest;
  std::optional<Plan> runner_up;
};
Plans make_plans(const ModelLayout& model, const Workload& workload, const PlanLimits& limits,
                 const Hardware& hardware);

// The smallest limit for which there is a plan.
std::size_t smallest_limit_bytes(const ModelLayout& model, const Workload& workload,
                                 const PlanLimits& limits);

// Whether make_plan finds one.
bool has_plan(const ModelLayout& model, const Workload& workload, const PlanLimits& limits);

// Throws as make_plan does if there is none, before anything has to be measured.
void require_limit(const ModelLayout& model, const Workload& workload, const PlanLimits& limits);

}  // namespace sluice
