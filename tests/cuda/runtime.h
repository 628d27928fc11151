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

#include "layers/cuda/touch.h"

namespace sluice::fake_cuda {

// The machine that is made believe.
struct Machine {
  const char* name = "Made-up GPU";
  int devices = 1;             // 0: cudaErrorNoDevice
  int driver_version = 13000;  // 0: cudaErrorInsufficientDriver from every call
  int compute_major = 8;
  int compute_minor = 6;
  std::size_t total_bytes = std::size_t{1} << 30;
  std::size_t context_bytes = std::size_t{64} << 20;  // taken by the first call that needs one
  std::size_t others_bytes = 0;                       // taken by other processes
  std::size_t pinnable_bytes = ~std::size_t{0};       // of one registration, and of all together
  std::size_t pinnable_total_bytes = ~std::size_t{0};
  int multiprocessors = 20;
  bool nvml = true;             // whether the driver's management library is there
  bool allow_pageable = false;  // async copies from memory that isn't pinned are no fault
  std::uint64_t seed = 0;       // not 0: streams dawdle at random, within what events allow
};

// Starts afresh: forgets every allocation, stream, complaint and injected failure.
void reset(const Machine& machine = {});

// From now on other processes take this much of the device.
void set_others_bytes(std::size_t bytes);

// The next call of `name` ("cudaMalloc"), after `skip` calls of it, answers `error`. An error that
// loses the device (cudaErrorLaunchFailure ...) is from then on every call's answer. A kernel's
// launch is named cudaLaunchKernel; a product of cuBLAS, cublasGemmEx.
void fail_call(const char* name, cudaError_t error, std::size_t skip = 0);

// What was used wrongly so far, a line each, in the order of discovery. A line names the two
// operations, their streams and the memory.
std::vector<std::string> complaints();
// Adds what is still allocated, registered or running: call it when all should be gone.
std::vector<std::string> complaints_at_exit();
// Adds a line of somebody else's, once. Safe to call from a kernel.
void complain(const std::string& line);

// Device memory in use, the context included, and the most there ever was.
std::size_t used_bytes();
std::size_t peak_bytes();

// How often graphs were launched.
std::size_t graph_launches();

// What complaints call the stream, instead of "stream 1".
void name_stream(cudaStream_t stream, const std::string& name);

// The CPU's own use of pinned memory can't be seen: these say that it happens now. Memory that
// isn't pinned is ignored.
void host_reads(const void* begin, std::size_t bytes);
void host_writes(const void* begin, std::size_t bytes);

// Puts a kernel on a stream. `run` is called when the stream gets to it, on the stream's thread;
// what it throws is a complaint. It isn't called if it touches memory that isn't there. A refused
// launch is left to cudaPeekAtLastError to tell.
void enqueue_kernel(cudaStream_t stream, const char* name, std::function<void()> run,
                    std::span<const Touch> touches);

}  // namespace sluice::fake_cuda
