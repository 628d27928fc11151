// Plans as files: sluice plan --save writes them, sluice run --plan reads them.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "layers/weights.h"
#include "offload/plan.h"

namespace sluice {

// Whatever is read is held to these, so that no arithmetic on it can overflow.
inline constexpr std::size_t kMostPlanTokens = std::size_t{1} << 24;  // of one sequence
inline constexpr std::size_t kMostPlanSequences = 4096;
inline constexpr std::size_t kMostPlanSlots = 64;

// Everything that the plan fixes, and what the model is like that it was made for: its sizes and
// types, not its weights. Of a workload whose cache is context_tokens of each sequence.
nlohmann::ordered_json plan_json(const ModelLayout& layout, const Plan& plan);
std::string print_plan_file(const ModelLayout& layout, const Plan& plan);

// "cpu", "sim" or "cuda".
std::string_view device_of(const Plan& plan);

// The plan that `json` holds, which is untrusted. Throws Error{kBadFile} naming `file`, the field,
// the value and what would be accepted: for what is no plan, for a plan of another model than
// `layout` and for one that contradicts itself or the model. What it returns can be run.
Plan parse_plan_file(std::string_view json, const std::string& file, const ModelLayout& layout);
// Throws also Error{kIo}.
Plan read_plan_file(const std::string& path, const ModelLayout& layout);

}  // namespace sluice
