// Plans for many sequences, of which some are worked on at once and the others after them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "offload/budgeter.h"

namespace sluice {

enum class Goal : std::uint8_t {
  kLatency,     // the workload's sequences, all at once, as soon as can be
  kThroughput,  // as many at once as makes all of them soonest done
};

struct BatchPlan {
  Plan plan;                        // of one round
  std::optional<Plan> runner_up{};  // with as many sequences at once
  std::size_t sequences = 1;        // in all
  std::size_t rounds = 1;

  std::size_t at_once() const { return plan.workload.sequences; }
  // Of all rounds, the last as long as the others.
  double seconds() const;
  double tokens_per_second() const;  // of prompts and replies together
};

// `workload` has the sequences in all. For throughput it tries 1, 2, 4... and all of them at once,
// each with a plan of its own. Throws as make_plan does if there is none for any of these.
BatchPlan make_batch_plan(const ModelLayout& model, const Workload& workload,
                          const PlanLimits& limits, const Hardware& hardware, Goal goal);

// What has to fit at least: throughput can do with one sequence at once.
Workload least_workload(const Workload& workload, Goal goal);

}  // namespace sluice
