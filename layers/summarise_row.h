// A row of logits in a few numbers, on the CPU.
#pragma once

#include <span>

#include "layers/logits_summary.h"

namespace sluice {

// `top`: whether the highest are wanted; if not, out.count is 0.
void summarise_row(std::span<const float> logits, const LogitsQuery& query, bool top,
                   LogitsSummary& out);

}  // namespace sluice
