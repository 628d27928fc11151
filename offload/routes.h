// How passes of each size go about units in host memory.
#pragma once

#include <cstddef>
#include <vector>

#include "offload/hardware.h"
#include "offload/plan.h"
#include "offload/schedule.h"

namespace sluice {

// Larger passes are never the host's: any link brings weights sooner.
inline constexpr std::size_t kMostHostTokens = 256;

// Routes for passes of the sizes that the plan's workload has; or for 1, 2, 4... too, beside those
// of its workload that the plan has, and such that what these have on its way between passes stays
// streamed. `schedule` is the plan's, but for its prologue, which is replaced. Sought near the
// shares of units that the host takes in the plan `like`, if there is one.
enum class RouteSizes { kOfWorkload, kAll };
std::vector<Route> choose_routes(const ModelLayout& model, const Plan& plan, Schedule& schedule,
                                 const PlanLimits& limits, const Hardware& hardware,
                                 RouteSizes wanted, const Plan* like = nullptr);

}  // namespace sluice
