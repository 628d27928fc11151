// The host as a second place to compute: units on the weights where they lie, in host memory.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "layers/model.h"
#include "layers/ops_cpu.h"
#include "memory/host_store.h"
#include "memory/host_stream.h"
#include "offload/plan.h"

namespace sluice {

// Feed-forward units, in passes of up to plan.host_tokens() tokens: those need the residual stream
// and nothing else of the device. And attention, for the layers whose cache it owns. Computes on
// the calling thread and the workers of its TBB arena; allocates nothing after construction.
class HostWorker {
 public:
  // `vectors`: the model's norm weights and biases, [layout.vector_floats], which it takes.
  // `device`, which copies rows that are attended, and pages where there are slots for them, must
  // outlive it.
  HostWorker(const ModelLayout& layout, const Plan& plan, std::vector<float> vectors,
             ComputePace pace, Device& device);

  // A pass with its input laid out at `input`, where the residual stream is updated in place.
  void begin_pass(const PassShape& shape, std::byte* input) { model_.begin_pass(shape, input); }
  void run(const Piece& piece, const std::byte* weights) { model_.run(stream_, piece, weights); }
  // From mixed_rows to attended_rows, both here.
  void attend(std::size_t unit) { model_.attend(stream_, unit, cache(unit)); }
  std::span<std::byte> mixed_rows() const { return model_.mixed_rows(); }
  std::span<std::byte> attended_rows(std::size_t unit) const { return model_.attended_rows(unit); }
  // Of an attention unit's layer, where its part of the pages begins.
  std::byte* cache(std::size_t unit) const { return caches_[layout_.units[unit].layer]; }

  const std::string& warning() const { return warning_; }

 private:
  const ModelLayout& layout_;
  std::vector<float> vectors_;
  HostStore memory_;                // activations
  HostStore pages_;                 // pinned if they are ever copied
  std::vector<std::byte*> caches_;  // [layers]
  std::string warning_;
  OpsCpu ops_;
  HostStream stream_{HostStream::Mode::kInline};
  Model model_;
};

// Bytes of host memory that it works in, beside the cache.
std::size_t host_work_bytes(const ModelLayout& layout, const Plan& plan);

}  // namespace sluice
