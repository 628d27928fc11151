// CUDA's execution model on the CPU: sources of kernels compile against this instead of CUDA.
//
// Blocks run in parallel; the threads of one take turns, in an order that tests choose. Nothing is
// timed, warps don't run in lock-step, and math functions are the CPU's. What differs for a kernel:
//   - a loop that waits for another thread must call __nanosleep, or it waits for ever;
//   - there is no atomicAdd on floats: results must not depend on the order of threads.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>
#include <vector_functions.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "layers/cuda/kernel.h"
#include "memory/cuda/check.h"
#include "memory/error.h"
#include "tests/cuda/emulation_intrinsics.h"
#include "tests/cuda/emulation_mma.h"
#include "tests/cuda/emulation_order.h"
#include "tests/cuda/emulation_shared.h"
#include "tests/cuda/emulation_threads.h"

#define __launch_bounds__(...)
#undef __shared__
#define __shared__ static_assert(false, "shared memory is declared by SLUICE_SHARED");

namespace sluice {

struct LaunchShape {
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;  // dynamic; 48 KiB at most
};

namespace fake_cuda {
void enqueue_kernel(cudaStream_t stream, const char* name, std::function<void()> run,
                    std::span<const Touch> touches);
}

namespace emulation {

// The order from now on, of all threads' grids. At the start, and after reset_order, it is what
// the environment's SLUICE_EMULATION_ORDER says: forward, reverse or random:SEED; else forward.
void set_order(Order order, std::uint64_t seed = 0);
void reset_order();

// A line for each grid that broke a rule of CUDA: its name, block, thread, what was done and where.
// Such a grid was abandoned in the middle.
std::vector<std::string> violations();
void clear_violations();

// What the hardware would refuse the launch for.
std::optional<std::string> shape_fault(const LaunchShape& shape);

// Runs thread_main(arguments) in every thread of the grid; returns when all have ended.
void run_threads(const char* name, const LaunchShape& shape,
                 void (*thread_main)(const void* arguments), const void* arguments);

// Runs a kernel at once.
template <typename... Parameters, typename... Arguments>
void run_grid(const char* name, const LaunchShape& shape, void (*kernel)(Parameters...),
              const Arguments&... arguments) {
  const auto thread = [&] { kernel(arguments...); };
  run_threads(
      name, shape, [](const void* t) { (*static_cast<decltype(&thread)>(t))(); }, &thread);
}

}  // namespace emulation

// Throws Error{kDevice} naming the kernel if the launch is refused.
template <typename... Parameters, typename... Arguments>
void launch(const char* name, cudaStream_t stream, const LaunchShape& shape,
            std::span<const Touch> touches, void (*kernel)(Parameters...),
            const Arguments&... arguments) {
  if (const auto fault = emulation::shape_fault(shape)) {
    throw Error(ErrorKind::kDevice, text(name, ": ", *fault));
  }
  auto run = [name = std::string(name), shape, kernel, ... copies = arguments] {
    emulation::run_grid(name.c_str(), shape, kernel, copies...);
  };
  fake_cuda::enqueue_kernel(stream, name, std::move(run),
                            std::span<const Touch>(touches.begin(), touches.size()));
  check_cuda(cudaPeekAtLastError(), name);
}

}  // namespace sluice
