// The fastest plan met so far, and small changes to it that may be faster still.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <vector>

#include "offload/hardware.h"
#include "offload/plan.h"
#include "offload/routes.h"
#include "offload/schedule.h"

namespace sluice {

// Segments, slots, their size, caches in host memory and slots for them.
using ShapeKey = std::array<std::size_t, 5>;
ShapeKey shape_key(const Plan& plan);

class BestPlan {
 public:
  // Borrows all three.
  BestPlan(const ModelLayout& model, const PlanLimits& limits, const Hardware& hardware)
      : model_(model), limits_(limits), hardware_(hardware) {}

  // Chooses the routes of the passes of its workload, and replays them.
  void consider(Plan plan);
  // Lets units of a small model change places, then chooses routes for passes of all sizes.
  void refine();

  bool found() const { return !best_.empty(); }
  // The fastest of each shape of slots, segments and caches, fastest first.
  const std::vector<Plan>& kept() const { return best_; }
  const Plan& plan() const { return best_.front(); }
  double seconds() const;  // of the workload
  // The fastest with other slots, segments or caches in host memory, if there is one.
  std::optional<Plan> runner_up() const;
  // So much has been replayed since the start that the search had better go on to what comes next.
  bool exhausted() const;
  void start_over() { replayed_pieces_ = 0; }

 private:
  std::optional<Plan> replayed(Plan plan);
  void choose(Plan& plan, Schedule& schedule, RouteSizes sizes) const;
  bool improve(Plan& plan, bool two_for_one);

  std::size_t replayed_pieces_ = 0;
  const ModelLayout& model_;
  const PlanLimits& limits_;
  const Hardware& hardware_;
  std::vector<Plan> best_;  // the fastest first, of each shape of slots, segments and caches one
};

}  // namespace sluice
