// The stand-in for the CUDA runtime: what tests say to it and ask of it.
//
// The calls themselves have the runtime's own names and signatures (cudaMalloc ...): a program is
// linked with this instead of cudart. Streams are queues worked off by threads; memory is the
// host's; and every operation is checked against all that ran before it.
#pragma once

#include <driver_types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "layers/cuda/kernel.h"

namespace sluice::fake_cuda {

// The machine that is made believe.
struct Machine {
  int devices = 1;                     // 0: cudaErrorNoDevice
  int driver_version = 13000;          // 0: cudaErrorInsufficientDriver from every call
  int compute_major = 8;
  int compute_minor = 6;
  std::size_t total_bytes = std::size_t{1} << 30;
  std::size_t context_bytes = std::size_t{64} << 20;  // taken by the first call that needs one
  std::size_t others_bytes = 0;                       // taken by other processes
  std::size_t pinnable_bytes = ~std::size_t{0};       // of one registration, and of all together
  std::size_t pinnable_total_bytes = ~std::size_t{0};
  std::uint64_t seed = 0;  // not 0: streams dawdle at random, within what events allow
};

// Starts afresh: forgets every allocation, stream, complaint and injected failure.
void reset(const Machine& machine = {});

// The next call of `name` ("cudaMalloc"), after `skip` calls of it, answers `error`.
void fail_call(const char* name, cudaError_t error, std::size_t skip = 0);

// What was used wrongly so far, a line each, in the order of discovery. A line names the two
// operations, their streams and the memory.
std::vector<std::string> complaints();
// Adds what is still allocated, registered or running: call it when all should be gone.
std::vector<std::string> complaints_at_exit();

// Device memory in use, the context included, and the most there ever was.
std::size_t used_bytes();
std::size_t peak_bytes();

// Puts a kernel on a stream. `run` is called when the stream gets to it.
void enqueue_kernel(cudaStream_t stream, const char* name, std::function<void()> run,
                    std::span<const Touch> touches);

}  // namespace sluice::fake_cuda
