// What other limits, and other ways to keep this one, would do.
#pragma once

#include <cstddef>
#include <optional>

#include "offload/throughput.h"

namespace sluice {

struct WhatIf {
  std::size_t step_bytes = 0;          // 0: there is no limit to change
  std::optional<BatchPlan> more{};     // under a limit larger by a step
  std::optional<BatchPlan> less{};     // smaller by a step; none: too small
  std::optional<BatchPlan> runner_up;  // see Plans; where the host computes, all streamed instead
};

// Plans anew beside `best`, which was made for the other arguments.
WhatIf make_what_if(const ModelLayout& model, const Workload& workload, const PlanLimits& limits,
                    const Hardware& hardware, Goal goal, const BatchPlan& best);

}  // namespace sluice
