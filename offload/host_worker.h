// The host as a second place to compute: units on the weights where they lie, in host memory.
#pragma once

#include <cstddef>
#include <vector>

#include "layers/model.h"
#include "layers/ops_cpu.h"
#include "memory/host_store.h"
#include "memory/host_stream.h"
#include "offload/plan.h"

namespace sluice {

// Feed-forward units only: those need the residual stream and nothing else of the device. Computes
// on the calling thread and the workers of its TBB arena; allocates nothing after construction.
class HostWorker {
 public:
  // `vectors`: the model's norm weights and biases, [layout.vector_floats], which it takes.
  HostWorker(const ModelLayout& layout, const Plan& plan, std::vector<float> vectors,
             ComputePace pace);

  // A pass of `shape`, at most plan.host_tokens() tokens, with its input laid out at `input`, where
  // the residual stream is updated in place.
  void begin_pass(const PassShape& shape, std::byte* input) { model_.begin_pass(shape, input); }
  void run(const Piece& piece, const std::byte* weights) { model_.run(stream_, piece, weights); }

 private:
  std::vector<float> vectors_;
  HostStore memory_;  // activations
  OpsCpu ops_;
  HostStream stream_{HostStream::Mode::kInline};
  Model model_;
};

// Bytes of host memory that it works in.
std::size_t host_work_bytes(const ModelLayout& layout, const Plan& plan);

}  // namespace sluice
