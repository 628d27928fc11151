#include "cli/lateness.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/format.h"

namespace sluice {
namespace {

constexpr double kLateRatio = 1.25;
// A lane is to blame if it alone explains this much of what a pass took longer.
constexpr double kBlame = 0.3;

double measured_in_lane(const RunFigures& figures, std::size_t lane) {
  return figures.decode_lanes[lane] / static_cast<double>(figures.decode_passes);
}

}  // namespace

std::optional<Lateness> find_lateness(const RunFigures& figures, const Plan& plan) {
  if (figures.decode_passes == 0) return std::nullopt;
  Lateness late{figures.decode_seconds / static_cast<double>(figures.decode_passes),
                plan.predicted.decode_pass_seconds};
  if (late.measured_seconds <= kLateRatio * late.predicted_seconds) return std::nullopt;
  // A GPU's lanes are timed only where something is streamed, or a trace is kept.
  late.timed = std::ranges::any_of(figures.decode_lanes, [](double s) { return s > 0.0; });
  double most = kBlame * (late.measured_seconds - late.predicted_seconds);
  for (const LaneInfo& info : kLanes) {
    const auto lane = static_cast<std::size_t>(info.lane);
    const double measured = measured_in_lane(figures, lane);
    const double predicted = figures.predicted_decode_lanes[lane];
    if (measured - predicted < most) continue;
    most = measured - predicted;
    late.lane = &info;
    late.lane_measured_seconds = measured;
    late.lane_predicted_seconds = predicted;
  }
  return late;
}

std::string print_lateness(const Lateness& late) {
  std::string line = format(
      "late       a decode pass took %.2f ms, %.0f %% longer than predicted: ",
      late.measured_seconds * 1e3, 100.0 * (late.measured_seconds / late.predicted_seconds - 1.0));
  if (!late.timed) return line + "which lane was late, --timeline FILE.svg shows\n";
  if (late.lane == nullptr) return line + "no lane by itself, they waited; see --timeline\n";
  return line + late.lane->name +
         format(" was busy for %.2f ms, predicted %.2f\n", late.lane_measured_seconds * 1e3,
                late.lane_predicted_seconds * 1e3);
}

void add_decode_lanes(nlohmann::ordered_json& json, const RunFigures& figures, const Plan& plan) {
  nlohmann::ordered_json lanes = nlohmann::ordered_json::object();
  for (const LaneInfo& info : kLanes) {
    // What comes back is timed in traced runs only.
    if (figures.decode_passes == 0 || info.lane == Lane::kLinkDown) continue;
    const auto lane = static_cast<std::size_t>(info.lane);
    lanes[info.name] = {{"seconds", measured_in_lane(figures, lane)},
                        {"predicted_seconds", figures.predicted_decode_lanes[lane]}};
  }
  const std::optional<Lateness> late = find_lateness(figures, plan);
  json["decode_passes"] = figures.decode_passes;
  json["decode_pass_lanes"] = lanes;
  json["late_lane"] = late && late->lane != nullptr ? nlohmann::ordered_json(late->lane->name)
                                                    : nlohmann::ordered_json(nullptr);
}

}  // namespace sluice
