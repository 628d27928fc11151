// What sluice plan tells of a plan beside its table: what binds it, and what else there could be.
#pragma once

#include <cstddef>
#include <string>

#include "cli/lanes.h"
#include "offload/what_if.h"

namespace sluice {

// The lane that is busy for longest in a pass.
struct BusiestLane {
  const LaneInfo* lane = nullptr;
  double share = 0.0;  // of the pass
};

struct PlanFacts {
  Goal goal = Goal::kLatency;
  RatesFrom device_from = RatesFrom::kPlan;
  BatchPlan batch;
  BusiestLane prefill;
  BusiestLane decode;
  std::size_t smallest_bytes = 0;  // the least limit; 0: the device knows none
  WhatIf what_if;
};

// Plans several times. Throws as make_batch_plan does.
PlanFacts gather_facts(const ModelLayout& layout, const Workload& workload,
                       const PlanLimits& limits, const Hardware& hardware, Goal goal);

// "2 slots of 1.00 MiB, segments of 512 tokens, all streamed".
std::string describe_kind(const Plan& plan);

// Lines that follow a plan's table.
std::string print_facts(const PlanFacts& facts);

// All of it and the plan, as JSON. `planned_for` names the hardware.
std::string print_facts_json(const PlanFacts& facts, const ModelLayout& layout,
                             const std::string& model, const std::string& planned_for);

}  // namespace sluice
