// What runs in which lane of a timeline, as measured and as predicted.
#pragma once

#include <array>
#include <span>
#include <string>
#include <vector>

#include "offload/cost_model.h"

namespace sluice {

struct LaneInfo {
  Lane lane;
  const char* name;
};
// In the order in which they are shown.
inline constexpr std::array<LaneInfo, kLaneCount> kLanes = {{{Lane::kCompute, "compute"},
                                                             {Lane::kLink, "link up"},
                                                             {Lane::kLinkDown, "link down"},
                                                             {Lane::kHost, "host"},
                                                             {Lane::kDisk, "disk"}}};

using LaneSeconds = std::array<double, kLaneCount>;  // [lane]

// How long each lane is busy between two moments.
LaneSeconds lane_seconds(std::span<const TraceEntry> entries, const Span& within);
// The lane that is busy for longest.
const LaneInfo& busiest_lane(const LaneSeconds& seconds);

// Spans of passes, in order within a lane, none over another.
struct Timeline {
  std::vector<TraceEntry> entries;
  std::vector<TracedPass> passes;
};

// What a plan's passes would take, one by one. Borrows all three.
class PassPredictor {
 public:
  PassPredictor(const ModelLayout& model, const Plan& plan, const Hardware& hardware)
      : model_(model), plan_(plan), hardware_(hardware), schedule_(make_schedule(model, plan)) {}

  // One pass, which begins at 0; copies for it may have begun before, copies for the next are left
  // out.
  Timeline pass(const PassSize& size) const;
  // Passes that ran, each from when it began; or behind the one before it, where that would not be
  // over by then.
  Timeline of(std::span<const TracedPass> ran) const;

  const ModelLayout& model() const { return model_; }
  // "layer 3 attention", "logits".
  std::string name(const TraceEntry& entry) const;
  const Piece& piece(const TraceEntry& entry) const { return schedule_.pieces[entry.piece]; }

 private:
  const ModelLayout& model_;
  const Plan& plan_;
  const Hardware& hardware_;
  const Schedule schedule_;
};

}  // namespace sluice
