// The predictor: replays a schedule's steps on the clocks of a machine. Pure arithmetic.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "offload/hardware.h"
#include "offload/schedule.h"
#include "offload/trace.h"

namespace sluice {

// The passes that a workload takes, with segments of so many tokens.
struct PassCount {
  PassSize size;
  std::size_t count;
};
struct WorkloadPasses {
  std::array<PassCount, 3> kinds;

  const PassCount& segment() const { return kinds[0]; }  // of prompts, all but the last
  const PassCount& last_segment() const { return kinds[1]; }
  const PassCount& decode() const { return kinds[2]; }
};
WorkloadPasses passes_of(const Workload& workload, std::size_t segment_tokens);

// Seconds of computing each piece of a schedule, on the device and by the host.
struct PieceSeconds {
  std::vector<double> device;
  std::vector<double> host;
};
PieceSeconds predict_pieces(const ModelLayout& model, const Schedule& schedule,
                            const Hardware& hardware, PassSize size);

// Seconds of one pass in the steady state, other passes of its size before and behind it. `spans`
// is told when what would run, from the pass's start; copies for it may have begun before.
double predict_pass_seconds(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                            const Hardware& hardware, PassSize size,
                            std::vector<TraceEntry>* spans = nullptr);
double predict_pass_seconds(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                            const Hardware& hardware, PassSize size, const PieceSeconds& pieces,
                            std::vector<TraceEntry>* spans = nullptr);

// Computation alone, of one piece, with nothing copied meanwhile.
double predict_piece_seconds(const ModelLayout& model, const ComputeRates& rates,
                             const Piece& piece, PassSize size);

// A pass of the plan's workload that brings one token of every sequence, half of the reply being
// there; where they are more than a pass takes, as many as it does.
PassSize decode_pass_size(const Plan& plan);

// Of the plan's workload.
Prediction predict(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                   const Hardware& hardware);

}  // namespace sluice
