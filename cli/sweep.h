// The speed of a model under many memory limits: predicted, and measured.
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
  std::size_t streamed_bytes = 0;      // of a decode pass
  std::size_t host_bytes = 0;          // of it, of units that the host computes where they lie
  const LaneInfo* bound_by = nullptr;  // the lane that is busy for longest in a decode pass
  std::optional<SweepMeasured> measured;
};

// One workload, in one type of weights, under every limit.
struct SweepSeries {
  std::string name;     // what tells it from the others: "4 sequences"
  std::string weights;  // of a shape: "q4_k_m"; a file has its own
  std::size_t weights_bytes = 0;
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
  std::vector<SweepSeries> series;
};

// What a point's workload takes.
struct SweepSpeeds {
  double prefill_seconds;
  double decode_pass_seconds;
  double total_seconds;  // of all rounds
  double prefill_tokens_per_second;
  double decode_tokens_per_second;
};

// Of a point that has a plan.
SweepSpeeds predicted_speeds(const SweepPoint& point);
// None if it wasn't measured.
std::optional<SweepSpeeds> measured_speeds(const SweepPoint& point);

// Runs a plan's workload on tokens that mean nothing, a few passes of it. Loads the model for it.
// Throws Interrupted once `stop` is set.
SweepMeasured measure_plan(const OpenModel& model, const Plan& plan, const Target& target,
                           std::size_t repeats, const std::atomic<bool>* stop);

}  // namespace sluice
