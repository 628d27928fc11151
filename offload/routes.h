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

// The units that the host had best compute in a pass of `tokens`, chosen by replay: the link brings
// the others meanwhile.
// `schedule` is the plan's, but for its prologue, which is replaced.
Route choose_route(const ModelLayout& model, const Plan& plan, Schedule& schedule,
                   const PlanLimits& limits, const Hardware& hardware, std::size_t tokens);

// Routes for passes of the sizes that the plan's workload has, or those and 1, 2, 4...
enum class RouteSizes { kOfWorkload, kAll };
std::vector<Route> choose_routes(const ModelLayout& model, const Plan& plan, Schedule& schedule,
                                 const PlanLimits& limits, const Hardware& hardware,
                                 RouteSizes wanted);

}  // namespace sluice
