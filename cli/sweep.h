// The speed of one model under many memory limits: predicted, and measured.
#pragma once

#include <atomic>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "cli/lanes.h"
#include "cli/session.h"

namespace sluice {

// Medians, where there were several.
struct SweepMeasured {
  double prefill_seconds;      // of all prompts
  double decode_pass_seconds;  // one token of every sequence
};

// One limit.
struct SweepPoint {
  std::size_t limit_bytes = 0;
  std::optional<Plan> plan;            // none: the limit is too small
  std::size_t rounds = 1;              // of the plan's sequences, one after the other
  std::size_t smallest_bytes = 0;      // that would do
  const LaneInfo* bound_by = nullptr;  // the lane that is busy for longest in a decode pass
  std::optional<SweepMeasured> measured;
};

// One workload under every limit.
struct SweepSeries {
  std::string name;                  // what tells it from the others: "4 sequences"
  Workload workload;                 // its sequences are what there is in all
  std::size_t everything_bytes = 0;  // the smallest limit at which all units are resident
  std::vector<SweepPoint> points;    // by limit, ascending
};

struct Sweep {
  std::string model;   // its file's name
  std::string device;  // "sim"
  std::optional<LinkSpeed> link;
  bool measured = false;
  std::size_t units = 0;
  std::size_t weights_bytes = 0;
  std::vector<SweepSeries> series;
};

// Runs a plan's workload on tokens that mean nothing, a few passes of it. Loads the model for it.
// Throws Interrupted once `stop` is set.
SweepMeasured measure_plan(const OpenModel& model, const Plan& plan, const Target& target,
                           std::size_t repeats, const std::atomic<bool>* stop);

}  // namespace sluice
