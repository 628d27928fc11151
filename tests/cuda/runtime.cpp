// What tests say to the stand-in and ask of it.
#include "tests/cuda/runtime.h"

#include <algorithm>
#include <exception>

#include "memory/error.h"
#include "tests/cuda/runtime_state.h"

namespace sluice::fake_cuda {

namespace {

void host_touches(const Touch& touch) {
  Runtime& runtime = Runtime::get();
  std::vector<OperationPtr> waits;
  {
    const Lock lock(runtime.mutex);
    const Region* const region = runtime.regions.find(touch.begin, touch.bytes);
    if (region == nullptr) return;
    if (region->kind == Region::Kind::kDevice) {
      runtime.complaints.add("host", "use on the host of " + region->name());
      return;
    }
    const auto operation =
        std::make_shared<Operation>(Operation{"use", "the host", kHost, runtime.host.tick(kHost)});
    check_touch(runtime, operation, runtime.host, touch, waits);
  }
  for (const OperationPtr& wait : waits) {
    if (wait->queue != nullptr) wait->queue->wait(wait->number);
  }
}

// "leaked: 2 events", nothing if there are none.
void add_leaks(std::vector<std::string>& lines, std::size_t count, const char* what) {
  if (count != 0) lines.push_back(text("leaked: ", count, " ", what, count == 1 ? "" : "s"));
}

std::vector<std::string> leaks(const Runtime& runtime) {
  std::vector<std::string> lines;
  if (runtime.device_error != cudaSuccess) return lines;  // all went with the device
  for (const auto& [begin, region] : runtime.regions.all()) {
    if (!region.freed) lines.push_back("leaked: " + region.name());
  }
  for (const CUstream_st& stream : runtime.streams) {
    const bool is_default = &stream == &runtime.streams.front();
    if (stream.alive && !is_default) lines.push_back("leaked: " + stream.name);
  }
  add_leaks(lines, runtime.live_events.size(), "event");
  add_leaks(lines, runtime.cublas_handles, "cuBLAS handle");
  const auto graphs = std::ranges::count(runtime.graphs, true, &CUgraph_st::alive) +
                      std::ranges::count(runtime.runnable_graphs, true, &CUgraphExec_st::alive);
  add_leaks(lines, static_cast<std::size_t>(graphs), "graph");
  return lines;
}

}  // namespace

void reset(const Machine& machine) {
  Runtime& runtime = Runtime::get();
  const Lock lock(runtime.mutex);
  runtime.stop();
  runtime.start(machine);
}

void set_others_bytes(std::size_t bytes) {
  Runtime& runtime = Runtime::get();
  const Lock lock(runtime.mutex);
  runtime.machine.others_bytes = bytes;
}

void fail_call(const char* name, cudaError_t error, std::size_t skip) {
  Runtime& runtime = Runtime::get();
  const Lock lock(runtime.mutex);
  runtime.failures.push_back({name, error, skip});
}

std::vector<std::string> complaints() {
  return Runtime::get().complaints.lines();
}

std::vector<std::string> complaints_at_exit() {
  Runtime& runtime = Runtime::get();
  const Lock lock(runtime.mutex);
  drain(runtime);
  std::vector<std::string> lines = runtime.complaints.lines();
  for (const std::string& line : leaks(runtime)) lines.push_back(line);
  return lines;
}

void complain(const std::string& line) {
  Runtime::get().complaints.add(line, line);
}

std::size_t used_bytes() {
  Runtime& runtime = Runtime::get();
  const Lock lock(runtime.mutex);
  return runtime.used_bytes;
}

std::size_t graph_launches() {
  Runtime& runtime = Runtime::get();
  const Lock lock(runtime.mutex);
  return runtime.graph_launches;
}

std::size_t peak_bytes() {
  Runtime& runtime = Runtime::get();
  const Lock lock(runtime.mutex);
  return runtime.peak_bytes;
}

void name_stream(cudaStream_t stream, const std::string& name) {
  Runtime& runtime = Runtime::get();
  const Lock lock(runtime.mutex);
  if (CUstream_st* const found = runtime.stream(stream)) found->name = name;
}

void host_reads(const void* begin, std::size_t bytes) {
  host_touches(reads(begin, bytes));
}

void host_writes(const void* begin, std::size_t bytes) {
  host_touches(writes(begin, bytes));
}

void enqueue_kernel(cudaStream_t stream, const char* name, std::function<void()> run,
                    std::span<const Touch> touches) {
  (void)call("cudaLaunchKernel", Needs::kContext, [&](Runtime& runtime, Lock&) {
    Launch launch{text("kernel ", name), {touches.begin(), touches.end()}, std::move(run)};
    if (CUstream_st* const captured = runtime.capturing(stream)) {
      captured->captured->push_back(std::move(launch));
      return cudaSuccess;
    }
    CUstream_st* const found = runtime.stream(stream);
    if (found == nullptr) return cudaErrorInvalidResourceHandle;
    put(runtime, *found, launch);
    return cudaSuccess;
  });
}

void put(Runtime& runtime, CUstream_st& stream, const Launch& launch) {
  Issue issue(runtime, stream, launch.name);
  bool good = true;
  for (const Touch& touch : launch.touches) good = issue.touch(touch) && good;
  if (!good) return;
  issue.give([name = launch.name, run = launch.run] {
    try {
      run();
    } catch (const std::exception& error) {
      complain(text(name, ": ", error.what()));
    }
  });
}

}  // namespace sluice::fake_cuda
