// The predictor: replays a schedule's steps on the clocks of a machine. Pure arithmetic.
#pragma once

#include <cstddef>

#include "offload/hardware.h"
#include "offload/schedule.h"

namespace sluice {

// Seconds of one pass in the steady state: of `tokens` tokens, the context of each sequence holding
// `keys` on average, `rows` of them with logits (0: the head isn't run).
struct PassSize {
  std::size_t tokens;
  std::size_t keys;
  std::size_t rows;
};
double predict_pass_seconds(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                            const Hardware& hardware, PassSize size);

// Computation alone, of one piece.
double predict_piece_seconds(const ModelLayout& model, const ComputeRates& hardware,
                             const Piece& piece, PassSize size);

Prediction predict(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                   const Hardware& hardware);

}  // namespace sluice
