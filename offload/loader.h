// Brings a model's weights into their packed form, each where the plan wants it.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <vector>

#include "layers/weights.h"
#include "memory/arena.h"
#include "memory/device.h"
#include "offload/plan.h"

namespace sluice {

// Bytes or tokens done, of how many.
using Progress = std::function<void(std::size_t done, std::size_t total)>;

// Thrown where a stop was asked for.
struct Interrupted {};

// Bytes of host memory for the units that lie there.
std::size_t store_bytes(const ModelLayout& layout, const Plan& plan);

struct LoadedWeights {
  std::vector<std::byte*> units;  // [units], in the store or in the arena; null: on the disk
  float* vectors;                 // in the arena
  std::size_t link_bytes;
};

// Packs units in parallel straight into the store; resident ones go through a small staging buffer
// and the link to the arena, and never through the store; those on the disk stay there, and then
// what is read leaves nothing in the page cache either. Returns when everything is in place. Throws
// Error{kBadFile}, Interrupted.
LoadedWeights load_weights(const ModelFile& file, const ModelLayout& layout, const Plan& plan,
                           Device& device, Arena& arena, std::byte* store, const Progress& progress,
                           const std::atomic<bool>* stop);

}  // namespace sluice
