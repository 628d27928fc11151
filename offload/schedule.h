// The steps of a pass: one list, which the engine runs and the cost model replays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "layers/pieces.h"
#include "offload/plan.h"

namespace sluice {

enum class StepKind : std::uint8_t {
  kInput,         // the pass's tokens go to the device
  kCopy,          // a piece goes to the next slot, once the slot's last reader is done
  kCompute,       // a piece is computed, once it is there
  kHost,          // a unit is computed by the host, from the residual stream and back to it
  kAttend,        // behind a piece: the host attends, on rows that come from it and go back
  kCopyCache,     // a layer's pages go to the next cache slot, once its last reader is done
  kAttendCopied,  // behind a piece: the device attends in the cache slot; what it added goes back
  kLogits,        // what is wanted of the logits comes back
};

struct Step {
  StepKind kind;
  std::uint32_t piece = 0;  // index into Schedule::pieces; of kHost the unit's first
};

// What passes are made of, whatever they bring. Copies stand where they can first be issued: when a
// slot has been read, the next piece of this pass, or of the one after it, is sent for. Between two
// passes those pieces are already on their way with which every pass begins to stream, whatever its
// route; the head's are sent for once it is known that a pass wants logits.
//
// Pages in host memory that a pass attends to on the device are sent for in the same way, as slots
// of theirs have been read, but for none of the next pass, of which nothing is known.
//
// Pieces on the disk are wanted in their order in every pass, so that they can be read ahead, into
// a ring of buffers, whatever the passes' routes: as many of a unit together as a buffer holds,
// when one is free. That takes no step. A copy of one is never issued for the next pass, for it may
// have to wait for the disk, and this pass would with it; nor before the host has computed a unit
// that is read earlier, or attended.
struct Schedule {
  std::vector<Piece> pieces;  // of all units, in order
  std::vector<bool> outside;  // [pieces]: not on the device; streamed, or computed by the host
  std::vector<bool> on_disk;  // [pieces]: and not in host memory either
  std::vector<std::uint32_t> part;  // [pieces]: the first of those that it is read together with
  std::vector<std::size_t> unit;    // [units + 1]: the first piece of each
  std::vector<Piece> whole;         // [units]: uncut, as the host computes what isn't on the disk
  std::vector<bool> attends;        // [pieces]: behind it, with its layer's cache in host memory
  std::vector<Step> prologue;       // copies before the first pass

  std::uint32_t last_piece() const { return static_cast<std::uint32_t>(pieces.size() - 1); }
  Attention attention(std::size_t unit) const;
  // Of a piece on the disk, whether those that it is read with end there; and their bytes.
  bool ends_part(std::uint32_t piece) const;
  std::size_t part_bytes(std::uint32_t piece) const;
};

Schedule make_schedule(const ModelLayout& model, const Plan& plan);

// The schedule's prologue, by the plan's routes.
std::vector<Step> make_prologue(const ModelLayout& model, const Plan& plan,
                                const Schedule& schedule);

// Of a pass by one of the plan's routes (Plan::route_of).
std::vector<Step> pass_steps(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                             std::size_t route, bool logits);

}  // namespace sluice
