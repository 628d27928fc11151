// The steps of a pass: one list, which the engine runs and the cost model replays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "layers/pieces.h"
#include "offload/plan.h"

namespace sluice {

enum class StepKind : std::uint8_t {
  kInput,    // the pass's tokens go to the device
  kCopy,     // a piece goes to the next slot, once the slot's last reader is done
  kCompute,  // a piece is computed, once it is there
  kHost,     // a unit is computed by the host, from the residual stream and back to it
  kLogits,   // logits come back
};

struct Step {
  StepKind kind;
  std::uint32_t piece = 0;  // index into Schedule::pieces; of kHost the unit's first
};

// Copies stand where they can first be issued: when a slot has been read, the next piece of this
// pass, or of the one after it, is sent for. Between two passes the first pieces of the layers are
// already on their way; the head's are sent for once it is known that a pass wants logits. Units of
// the host that are among those first pieces are streamed in every pass.
struct Schedule {
  std::vector<Piece> pieces;   // of all units, in order
  std::vector<bool> streamed;  // [pieces]
  std::vector<Step> prologue;  // before the first pass

  const std::vector<Step>& pass(bool logits, bool host) const { return passes[logits][host]; }
  std::vector<Step> passes[2][2];  // [with logits][the host computes its units]
};

Schedule make_schedule(const ModelLayout& model, const Plan& plan);

}  // namespace sluice
