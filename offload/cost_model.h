// The predictor: replays a plan's passes on the clocks of a machine. Pure arithmetic.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "offload/hardware.h"
#include "offload/piece_seconds.h"
#include "offload/schedule.h"
#include "offload/trace.h"

namespace sluice {

// The passes that a workload takes, with segments of so many tokens.
struct PassCount {
  PassSize size;
  std::size_t count;
};
struct WorkloadPasses {
  static constexpr std::size_t kKinds = 4;
  // Of prompts: those without logits, those in which some prompts end, and the last; then one token
  // of each sequence.
  std::array<PassCount, kKinds> kinds;

  const PassCount& decode() const { return kinds.back(); }
};
WorkloadPasses passes_of(const Workload& workload, std::size_t segment_tokens);
// One token of every sequence, in the midst of generating.
PassSize decode_pass_size(const Plan& plan);

// From one call of the engine to the next, of which passes are told without.
double between_calls_seconds(const Hardware& hardware, std::size_t tokens);

// Seconds of one pass in the steady state, with what lies between it and the next, other passes of
// its size before and behind it. `spans` is told when what would run, from the pass's first step;
// copies for it may have begun before.
double predict_pass_seconds(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                            const Hardware& hardware, PassSize size,
                            std::vector<TraceEntry>* spans = nullptr);
double predict_pass_seconds(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                            const Hardware& hardware, PassSize size, const PieceTable& pieces,
                            std::vector<TraceEntry>* spans = nullptr);

// Of the plan's workload.
Prediction predict(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                   const Hardware& hardware);

}  // namespace sluice
