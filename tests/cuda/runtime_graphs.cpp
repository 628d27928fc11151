// Calls about graphs: kernels that a stream takes down instead of doing them.
#include <string>
#include <utility>

#include "tests/cuda/runtime_state.h"

namespace fake = sluice::fake_cuda;
using fake::call;
using fake::Lock;
using fake::Needs;
using fake::Runtime;

namespace {

// What the driver keeps of a kernel on the device, taken to be a lot.
constexpr std::size_t kNodeBytes = 4 << 10;

}  // namespace

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  return call("cudaStreamBeginCapture", Needs::kContext, [&](Runtime& runtime, Lock&) {
    CUstream_st* const stream = runtime.stream(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    if (stream == &runtime.streams.front()) return cudaErrorStreamCaptureUnsupported;
    if (mode != cudaStreamCaptureModeThreadLocal) return cudaErrorInvalidValue;
    stream->captured.emplace();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  return call("cudaStreamEndCapture", Needs::kContext, [&](Runtime& runtime, Lock&) {
    CUstream_st* const stream = runtime.capturing(handle);
    if (stream == nullptr || graph == nullptr) return cudaErrorIllegalState;
    *graph = nullptr;
    const bool broken = std::exchange(stream->capture_broken, false);
    std::vector<fake::Launch> launches = std::move(*stream->captured);
    stream->captured.reset();
    if (broken) return cudaErrorStreamCaptureInvalidated;
    *graph = &runtime.graphs.emplace_back(CUgraph_st{std::move(launches)});
    return cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* graph, cudaGraph_t captured,
                                          unsigned long long /*flags*/) {
  return call("cudaGraphInstantiate", Needs::kContext, [&](Runtime& runtime, Lock&) {
    if (graph == nullptr || captured == nullptr || !captured->alive) return cudaErrorInvalidValue;
    const std::size_t bytes = captured->launches.size() * kNodeBytes;
    if (!runtime.take(bytes)) return cudaErrorMemoryAllocation;
    *graph = &runtime.runnable_graphs.emplace_back(CUgraphExec_st{captured->launches, bytes});
    return cudaSuccess;
  });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t handle) {
  return call("cudaGraphLaunch", Needs::kContext, [&](Runtime& runtime, Lock&) {
    CUstream_st* const stream = runtime.stream(handle);
    if (stream == nullptr || graph == nullptr) return cudaErrorInvalidResourceHandle;
    if (!graph->alive) {
      runtime.complaints.add("graph|late", "a graph launched after it was destroyed");
      return cudaErrorInvalidValue;
    }
    ++runtime.graph_launches;
    for (const fake::Launch& launch : graph->launches) fake::put(runtime, *stream, launch);
    return cudaSuccess;
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
  return call("cudaGraphExecDestroy", Needs::kContext, [&](Runtime& runtime, Lock&) {
    if (graph == nullptr || !graph->alive) return cudaErrorInvalidValue;
    graph->alive = false;
    graph->launches.clear();  // what was launched has its own
    runtime.used_bytes -= graph->bytes;
    return cudaSuccess;
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return call("cudaGraphDestroy", Needs::kContext, [&](Runtime&, Lock&) {
    if (graph == nullptr || !graph->alive) return cudaErrorInvalidValue;
    graph->alive = false;
    graph->launches.clear();
    return cudaSuccess;
  });
}

}  // extern "C"
