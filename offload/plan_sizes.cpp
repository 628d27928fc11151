#include "offload/plan_sizes.h"

#include <algorithm>
#include <array>

#include "layers/pieces.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr std::array<std::size_t, 6> kSlotCounts = {2, 3, 4, 6, 8, 12};
// Pieces smaller than this cost more in steps than they save in memory.
constexpr std::size_t kSmallSlotBytes = 64_KiB;
constexpr std::size_t kSlotSizes = 10;  // the largest unit, its half, ... before the smallest
// A pass of more pieces than this costs more in steps than it gains; tried where nothing else fits.
constexpr std::size_t kMostPieces = 4096;
constexpr std::size_t kCacheShares = 4;  // of the layers
constexpr std::size_t kCacheSlots = 2;   // one is attended to while the other is filled

std::size_t largest_unit_bytes(const ModelLayout& model) {
  std::size_t largest = 0;
  for (const UnitInfo& unit : model.units) largest = std::max(largest, unit.size_bytes);
  return largest;
}

// The layers in so many shares, from none to all.
std::vector<std::size_t> host_caches(const ModelLayout& model, const PlanLimits& limits,
                                     std::size_t shares) {
  const std::size_t layers = model.config.layers;
  if (limits.in_place) return {0};
  if (limits.host_cache_layers) return {std::min(*limits.host_cache_layers, layers)};
  if (!limits.host_computes) return {0};
  std::vector<std::size_t> counts = {0};
  for (std::size_t i = 1; i <= shares; ++i) {
    if (layers * i / shares > counts.back()) counts.push_back(layers * i / shares);
  }
  return counts;
}

}  // namespace

std::vector<std::size_t> segment_lengths(const PlanLimits& limits, std::size_t total_tokens,
                                         std::size_t longest) {
  if (limits.segment_tokens) return {*limits.segment_tokens};
  std::vector<std::size_t> lengths;
  for (std::size_t n = longest; n > 1; n /= 2) {
    // One that covers all tokens, and none longer.
    if (n / 2 < total_tokens) lengths.push_back(std::min(n, total_tokens));
  }
  lengths.push_back(1);
  return lengths;
}

std::size_t smallest_slot_bytes(const ModelLayout& model) {
  std::size_t panel = 0;
  for (const UnitInfo& unit : model.units) panel = std::max(panel, largest_panel_bytes(unit));
  return align_up(std::min(std::max(panel, kSmallSlotBytes), largest_unit_bytes(model)));
}

std::vector<std::size_t> slot_sizes(const ModelLayout& model) {
  std::vector<std::size_t> sizes;
  const std::size_t smallest =
      std::max(smallest_slot_bytes(model), model.units_bytes() / kMostPieces);
  std::size_t bytes = align_up(largest_unit_bytes(model));
  for (std::size_t i = 0; i < kSlotSizes && bytes > smallest; ++i, bytes = align_up(bytes / 2)) {
    sizes.push_back(bytes);
  }
  sizes.push_back(align_up(smallest));
  return sizes;
}

std::vector<std::size_t> slot_counts(const PlanLimits& limits) {
  if (limits.slots) return {*limits.slots};
  return {kSlotCounts.begin(), kSlotCounts.end()};
}

std::vector<std::size_t> cache_slot_counts(const PlanLimits& limits, std::size_t host_caches) {
  if (limits.cache_slots) return {std::min(*limits.cache_slots, host_caches)};
  if (host_caches == 0) return {0};
  return {0, std::min(kCacheSlots, host_caches)};
}

std::vector<std::size_t> few_host_caches(const ModelLayout& model, const PlanLimits& limits) {
  return host_caches(model, limits, kCacheShares);
}

std::vector<std::size_t> all_host_caches(const ModelLayout& model, const PlanLimits& limits) {
  return host_caches(model, limits, model.config.layers);
}

}  // namespace sluice
