// What a plan is wanted for, and the plans that a search for one begins with.
#pragma once

#include <cstddef>
#include <vector>

#include "layers/weights.h"
#include "offload/plan.h"
#include "offload/plan_sizes.h"

namespace sluice {

// Borrows all but the type of cached keys and values.
struct PlanRequest {
  const ModelLayout& model;
  const Workload& workload;
  const PlanLimits& limits;
  KvType kv;

  // Lengths that may be had, longest first.
  std::vector<std::size_t> segments(std::size_t longest = kDefaultSegmentTokens) const;
  // All units in host memory, and so many layers' caches; no slots yet, bytes not counted.
  Plan blank(std::size_t segment, std::size_t host_caches) const;
  // The plan's bytes, which have been counted.
  bool fits(const Plan& plan) const { return plan.bytes.total() <= limits.most_device_bytes(); }
};

}  // namespace sluice
