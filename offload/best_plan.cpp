#include "offload/best_plan.h"

#include <utility>

#include "offload/cost_model.h"
#include "offload/routes.h"
#include "offload/schedule.h"

namespace sluice {
namespace {

constexpr std::size_t kMostReplayedPieces = 1'000'000;
constexpr std::size_t kSmallModelUnits = 24;  // every pair of units may be tried

}  // namespace

double BestPlan::seconds() const {
  return best_->predicted.prefill_seconds + best_->predicted.decode_seconds;
}

bool BestPlan::exhausted() const {
  return replayed_pieces_ > kMostReplayedPieces;
}

void BestPlan::consider(Plan plan) {
  const Schedule schedule = make_schedule(model_, plan);
  replayed_pieces_ += schedule.pieces.size();
  plan.routes.clear();
  if (limits_.host_computes) {
    plan.routes =
        choose_routes(model_, plan, schedule, limits_, hardware_, RouteSizes::kOfWorkload);
  }
  plan.predicted = predict(model_, plan, schedule, hardware_);
  const double seconds_now = plan.predicted.prefill_seconds + plan.predicted.decode_seconds;
  if (!found() || seconds_now < seconds()) best_ = std::move(plan);
}

void BestPlan::refine() {
  if (best_->slots == 0) return;
  if (best_->placement.size() <= kSmallModelUnits) {
    while (improve_by_swaps() && !exhausted()) {
    }
  }
  if (!limits_.host_computes) return;
  const Schedule schedule = make_schedule(model_, *best_);
  best_->routes = choose_routes(model_, *best_, schedule, limits_, hardware_, RouteSizes::kAll);
  best_->predicted = predict(model_, *best_, schedule, hardware_);
}

// A unit on the device for one of the same size that isn't.
bool BestPlan::improve_by_swaps() {
  const double before = seconds();
  const Plan start = *best_;
  for (std::size_t a = 0; a < start.placement.size(); ++a) {
    for (std::size_t b = 0; b < start.placement.size(); ++b) {
      const bool pinned =
          !limits_.pins.empty() && (limits_.pins[a] != Pin::kNone || limits_.pins[b] != Pin::kNone);
      if (pinned || start.placement[a] != Placement::kResident ||
          start.placement[b] == Placement::kResident ||
          model_.units[a].size_bytes != model_.units[b].size_bytes) {
        continue;
      }
      Plan swapped = start;
      std::swap(swapped.placement[a], swapped.placement[b]);
      consider(std::move(swapped));
    }
  }
  return seconds() < before;
}

}  // namespace sluice
