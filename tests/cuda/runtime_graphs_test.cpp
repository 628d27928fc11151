// The stand-in's graphs: what is captured is done when it is launched, and checked then.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/cuda/handles.h"

namespace sluice::fake_cuda {
namespace {

using Ints = TestArray<int>;

void begin(cudaStream_t stream) {
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
}

// What was captured since, to be launched.
cudaGraphExec_t end(cudaStream_t stream) {
  cudaGraph_t captured = nullptr;
  REQUIRE(cudaStreamEndCapture(stream, &captured) == cudaSuccess);
  cudaGraphExec_t graph = nullptr;
  REQUIRE(cudaGraphInstantiateWithFlags(&graph, captured, 0) == cudaSuccess);
  CHECK(cudaGraphDestroy(captured) == cudaSuccess);
  return graph;
}

void adding_kernel(cudaStream_t stream, const Ints& to, int what) {
  enqueue_kernel(
      stream, "add", [data = to.data(), what] { *data += what; },
      std::vector<Touch>{writes(to.data(), sizeof(int))});
}

TEST_CASE("cuda stand-in: a graph's kernels are done when it is launched, as often as it is") {
  reset();
  const TestStream stream;
  const Ints sum(Where::kDevice, 1);
  CHECK(cudaMemsetAsync(sum.data(), 0, sum.bytes(), stream) == cudaSuccess);
  begin(stream);
  adding_kernel(stream, sum, 3);
  adding_kernel(stream, sum, 4);
  const cudaGraphExec_t graph = end(stream);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(*sum.data() == 0);
  CHECK(cudaGraphLaunch(graph, stream) == cudaSuccess);
  CHECK(cudaGraphLaunch(graph, stream) == cudaSuccess);
  CHECK(cudaGraphExecDestroy(graph) == cudaSuccess);  // what was launched ends all the same
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(*sum.data() == 14);
  CHECK(graph_launches() == 2);
  check_silent();
  CHECK(cudaGraphLaunch(graph, stream) == cudaErrorInvalidValue);
  check_complaint({"a graph launched after it was destroyed"});
}

TEST_CASE("cuda stand-in: what a graph touches is ordered like any kernel") {
  reset();
  const TestStream copies("the copies");
  const TestStream compute("the compute");
  const Ints host(Where::kPinned, 16);
  const Ints device(Where::kDevice, 16);
  begin(compute);
  touching_kernel(compute, "read", {reads(device.data(), device.bytes())});
  const cudaGraphExec_t graph = end(compute);
  CHECK(cudaMemcpyAsync(device.data(), host.data(), device.bytes(), cudaMemcpyHostToDevice,
                        copies) == cudaSuccess);
  check_silent();
  CHECK(cudaGraphLaunch(graph, compute) == cudaSuccess);
  check_complaint({"kernel read on the compute reads", "copy to device on the copies"});
  CHECK(cudaGraphExecDestroy(graph) == cudaSuccess);
}

TEST_CASE("cuda stand-in: a captured stream takes kernels and nothing else") {
  for (const bool waits : {false, true}) {
    CAPTURE(waits);
    reset();
    const TestStream stream;
    const TestEvent event;
    begin(stream);
    void* memory = nullptr;
    if (waits) {
      CHECK(cudaMalloc(&memory, 16) == cudaErrorStreamCaptureUnsupported);
    } else {
      CHECK(cudaEventRecord(event, stream) != cudaSuccess);
    }
    cudaGraph_t captured = nullptr;
    CHECK(cudaStreamEndCapture(stream, &captured) == cudaErrorStreamCaptureInvalidated);
    CHECK(captured == nullptr);
    CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
    check_complaint({"captured"});
    CHECK(cudaStreamEndCapture(stream, &captured) == cudaErrorIllegalState);
  }
}

TEST_CASE("cuda stand-in: graphs take memory of the device, and are leaked if they stay") {
  reset();
  const TestStream stream;
  const Ints device(Where::kDevice, 16);
  const std::size_t before = used_bytes();
  begin(stream);
  touching_kernel(stream, "read", {reads(device.data(), device.bytes())});
  const cudaGraphExec_t graph = end(stream);
  CHECK(used_bytes() > before);
  const std::vector<std::string> lines = complaints_at_exit();
  CHECK(std::ranges::count(lines, "leaked: 1 graph") == 1);
  CHECK(cudaGraphExecDestroy(graph) == cudaSuccess);
  CHECK(used_bytes() == before);
}

}  // namespace
}  // namespace sluice::fake_cuda
