// What the budgeter chooses from: which units could stay on the device, and estimates of how long
// passes would then take, without a schedule.
#pragma once

#include <array>
#include <cstddef>
#include <deque>
#include <vector>

#include "offload/cost_model.h"
#include "offload/hardware.h"
#include "offload/plan.h"

namespace sluice {

// A choice of resident units: the first so many of each kind, in that order, beside those pinned.
struct Candidate {
  std::size_t attention = 0;
  std::size_t feed_forward = 0;
  bool head = false;
  std::size_t resident_bytes = 0;  // of all, as lent
  double seconds = 0.0;            // of the workload, at least
};

// Layers whose cache is in host memory, and whether there are slots to bring its pages through.
struct HostCaches {
  std::size_t layers = 0;
  bool slots = false;
};

// For one length of segments and one size of slots.
class Candidates {
 public:
  // `plan` has these sizes, and what its cache is like.
  Candidates(const ModelLayout& model, const PlanLimits& limits, const Hardware& hardware,
             const WorkloadPasses& passes, const Plan& plan);

  // Those that leave no room for another unit within `room_bytes`, with their estimates.
  std::vector<Candidate> within(std::size_t room_bytes, HostCaches caches) const;
  std::vector<Placement> placement(const Candidate& candidate) const;

 private:
  static constexpr std::size_t kKinds = 3;  // of units
  // Sums over units of one kind, when the first so many are resident.
  struct Sums {
    std::size_t resident_bytes = 0;
    std::array<double, WorkloadPasses::kKinds> link{};  // seconds to copy those outside
    std::array<double, WorkloadPasses::kKinds>
        host_link{};  // of them, what the host could compute instead
    std::array<double, WorkloadPasses::kKinds> device{};  // seconds to compute, all on the device
    std::array<double, WorkloadPasses::kKinds>
        by_host{};  // and with the host computing all that it could
  };
  struct Kind {
    std::vector<std::size_t> order;
    std::vector<Sums> sums;  // [order + 1]
  };

  Sums measure(std::size_t unit, bool resident) const;
  const Sums& sums_of(std::size_t unit, bool resident);
  bool may_host(std::size_t unit, bool resident) const;
  double estimate(const Candidate& candidate, HostCaches caches) const;
  static double pass_seconds(const Sums& sums, std::size_t pass, double attending, double copying);
  double host_cache_seconds(const Plan& plan, const PassSize& size) const;

  const ModelLayout& model_;
  const PlanLimits& limits_;
  const Hardware& hardware_;
  const WorkloadPasses passes_;
  const std::size_t slot_bytes_;
  const KvType kv_;
  // Of units met so far, one of each shape: layers are alike.
  struct Met {
    std::size_t unit;
    bool resident;
    bool may_host;
    Sums sums;
  };
  std::deque<Met> met_;
  Sums pinned_;
  std::vector<bool> pinned_resident_;
  // That a pass is longer for each layer that the host attends.
  std::array<double, WorkloadPasses::kKinds> host_cache_seconds_{};
  // That the link is busy for each layer whose pages it brings.
  std::array<double, WorkloadPasses::kKinds> copied_cache_seconds_{};
  std::array<Kind, kKinds> kinds_;
};

}  // namespace sluice
