// A grid that is being run, and the one place that its violation goes to.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "tests/cuda/emulation_order.h"

namespace sluice::emulation {

// Borrowed by every runner that works on it.
struct Grid {
  const char* name;
  dim3 extent;
  dim3 block_extent;
  std::size_t dynamic_bytes;
  void (*thread_main)(const void* arguments);
  const void* arguments;
  Order order;
  std::uint64_t seed;
  std::atomic<bool> abandoned = false;
  char fork = 0;  // for the thread sanitizer: launched before any thread began,
  char join = 0;  // and over after all have ended

  // Records the grid's violation, unless it has one, and abandons the grid.
  void violate(const std::string& what);
};

// Thrown in every thread of a block that is abandoned.
struct Abandoned {};

}  // namespace sluice::emulation
