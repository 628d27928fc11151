// Which type keys and values are kept in, where a plan may choose.
#pragma once

#include <functional>
#include <vector>

#include "offload/budgeter.h"

namespace sluice {

// Those that `limits` allow, the most exact first; the default alone, where they name none.
std::vector<KvType> kv_types_of(const ModelLayout& model, const PlanLimits& limits);

// The fastest of each type's plans: of those as fast to within 1 % the most exact. `make` throws
// Error{kOverBudget} where a type takes too much; thrown on if all do. The fastest of another type
// is the runner-up where it comes before the chosen type's own.
Plans choose_kv(const std::vector<KvType>& types, const std::function<Plans(KvType)>& make);

}  // namespace sluice
