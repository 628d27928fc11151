// Units that the user places: --place PATTERN=PLACE and --resident N.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "layers/weights.h"
#include "offload/plan.h"

namespace sluice {

// [units], later ones over earlier ones; empty if there are none. Throws Error{kUsage} for what
// isn't a pattern or a place, a layer that the model lacks, and a unit that the host can't compute.
std::vector<Pin> parse_pins(const std::vector<std::string>& places, const ModelLayout& layout);

// Pins units, and how many of them are resident. Throws Error{kUsage} where both can't be.
void apply_pins(const std::vector<std::string>& places, std::optional<std::size_t> resident_units,
                const ModelLayout& layout, PlanLimits& limits);

}  // namespace sluice
