// Plans that --plan names, in place of one made for a run.
#pragma once

#include <optional>

#include "cli/options.h"
#include "cli/session.h"

namespace sluice {

struct GivenPlan {
  Plan plan;
  PlacementOptions on;  // with the device, limit and precision that the plan was made for

  // The plan with what the target's driver takes for itself. Throws Error{kOverBudget} where the
  // limits of either can't be kept.
  Plan fit(const Target& target) const;
};

// Nothing without --plan. Throws as read_plan_file does, and Error{kUsage} for options beside it
// that say what the plan says.
std::optional<GivenPlan> read_given_plan(const PlacementOptions& on, const ModelLayout& layout);

}  // namespace sluice
