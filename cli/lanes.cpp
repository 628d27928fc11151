#include "cli/lanes.h"

#include <algorithm>
#include <limits>

namespace sluice {

LaneSeconds lane_seconds(std::span<const TraceEntry> entries, const Span& within) {
  LaneSeconds seconds{};
  for (const TraceEntry& e : entries) {
    const double begin = std::max(e.span.begin_seconds, within.begin_seconds);
    const double end = std::min(e.span.end_seconds, within.end_seconds);
    seconds[static_cast<std::size_t>(e.lane)] += std::max(0.0, end - begin);
  }
  return seconds;
}

const LaneInfo& busiest_lane(const LaneSeconds& seconds) {
  return *std::ranges::max_element(kLanes, {}, [&](const LaneInfo& info) {
    return seconds[static_cast<std::size_t>(info.lane)];
  });
}

Timeline PassPredictor::pass(const PassSize& size) const {
  Timeline timeline;
  const double seconds =
      predict_pass_seconds(model_, plan_, schedule_, hardware_, size, &timeline.entries);
  const double through = seconds - between_calls_seconds(hardware_, size.tokens);
  std::erase_if(timeline.entries,
                [&](const TraceEntry& e) { return e.span.begin_seconds >= through; });
  timeline.passes.push_back({size, {0.0, seconds}});
  return timeline;
}

Timeline PassPredictor::of(std::span<const TracedPass> ran) const {
  Timeline all;
  std::array<double, kLaneCount> free_seconds;  // [lane]: when its last span ends
  free_seconds.fill(-std::numeric_limits<double>::infinity());
  double begin = -std::numeric_limits<double>::infinity();
  for (const TracedPass& measured : ran) {
    const Timeline one = pass(measured.size);
    begin = std::max(begin, measured.span.begin_seconds);
    for (TraceEntry e : one.entries) {
      // A copy that began before its pass is the tail of one told with the pass before.
      double& free = free_seconds[static_cast<std::size_t>(e.lane)];
      e.span.begin_seconds = std::max(begin + e.span.begin_seconds, free);
      e.span.end_seconds += begin;
      if (e.span.end_seconds <= e.span.begin_seconds) continue;
      free = e.span.end_seconds;
      all.entries.push_back(e);
    }
    const double end = begin + one.passes.front().span.end_seconds;
    all.passes.push_back({measured.size, {begin, end}});
    begin = end;
  }
  return all;
}

std::string PassPredictor::name(const TraceEntry& entry) const {
  const UnitInfo& unit = model_.units[piece(entry).unit];
  if (entry.cache) {
    return (entry.lane == Lane::kCompute ? "attending in " : "cache of ") + unit.name();
  }
  if (entry.lane != Lane::kLinkDown) return unit.name();
  return unit.kind == UnitKind::kHead ? "logits" : "activations for " + unit.name();
}

}  // namespace sluice
