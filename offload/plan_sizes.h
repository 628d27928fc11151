// The sizes that the budgeter tries: of segments and slots, and how many caches the host has.
#pragma once

#include <cstddef>
#include <vector>

#include "layers/weights.h"
#include "offload/plan.h"

namespace sluice {

inline constexpr std::size_t kDefaultSegmentTokens = 512;
// Where weights are streamed, longer segments share a copy among more tokens.
inline constexpr std::size_t kLongestSegmentTokens = 4096;
inline constexpr std::size_t kDefaultSlots = 2;

// Lengths of segments for prompts of `total_tokens` in all, longest first.
std::vector<std::size_t> segment_lengths(const PlanLimits& limits, std::size_t total_tokens,
                                         std::size_t longest);

// Slots no smaller than this hold a piece of any unit.
std::size_t smallest_slot_bytes(const ModelLayout& model);
std::vector<std::size_t> slot_sizes(const ModelLayout& model);  // largest first
std::vector<std::size_t> slot_counts(const PlanLimits& limits);

// Layers whose cache may be in host memory: as few and as many as can be, and a few numbers
// between; or all that there are. Fewest first.
std::vector<std::size_t> few_host_caches(const ModelLayout& model, const PlanLimits& limits);
std::vector<std::size_t> all_host_caches(const ModelLayout& model, const PlanLimits& limits);

// Slots for their pages.
std::vector<std::size_t> cache_slot_counts(const PlanLimits& limits, std::size_t host_caches);

}  // namespace sluice
