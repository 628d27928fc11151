// Whether decode passes took much longer than predicted, and which lane was to blame.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "cli/report.h"

namespace sluice {

struct Lateness {
  double measured_seconds;  // of a pass
  double predicted_seconds;
  const LaneInfo* lane = nullptr;  // null: none took as much longer as the pass did
  bool timed = true;               // the lanes were
  double lane_measured_seconds = 0.0;
  double lane_predicted_seconds = 0.0;
};

// Nothing where passes took no more than 25 % longer than predicted.
std::optional<Lateness> find_lateness(const RunFigures& figures, const Plan& plan);

std::string print_lateness(const Lateness& late);

// Seconds of a decode pass by lane, predicted and measured, and the lane that was late or null.
void add_decode_lanes(nlohmann::ordered_json& json, const RunFigures& figures, const Plan& plan);

}  // namespace sluice
