#include "tests/cuda/runtime_state.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "memory/error.h"

namespace sluice::fake_cuda {

namespace {

thread_local cudaError_t last_error = cudaSuccess;

// After these the context is lost.
bool loses_device(cudaError_t error) {
  switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorECCUncorrectable:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidPc:
    case cudaErrorAssert:
      return true;
    default:
      return false;
  }
}

// What may wait for a stream, and so isn't to be called while one is captured.
bool may_wait(std::string_view name) {
  constexpr std::string_view kNames[] = {
      "cudaMalloc",   "cudaFree",         "cudaHostAlloc",
      "cudaFreeHost", "cudaHostRegister", "cudaHostUnregister",
      "cudaMemcpy",   "cudaMemset",       "cudaDeviceSynchronize"};
  return std::ranges::find(kNames, name) != std::end(kNames);
}

}  // namespace

Runtime& Runtime::get() {
  static Runtime runtime;
  return runtime;
}

void Runtime::start(const Machine& made_believe) {
  machine = made_believe;
  host = {};
  failures.clear();
  device_error = cudaSuccess;
  has_context = false;
  used_bytes = 0;
  peak_bytes = 0;
  cublas_handles = 0;
  graph_launches = 0;
  complaints.clear();
  last_error = cudaSuccess;
  add_stream(false).name = "the default stream";
}

void Runtime::stop() {
  for (CUstream_st& each : streams) each.queue->finish();
  events.clear();
  live_events.clear();
  streams.clear();
  graphs.clear();
  runnable_graphs.clear();
  regions.clear();
}

cudaError_t Runtime::refusal(const char* name, Needs needs) {
  const auto failure =
      std::ranges::find_if(failures, [&](const Failure& each) { return each.call == name; });
  if (failure != failures.end() && failure->skip-- == 0) {
    const cudaError_t error = failure->error;
    failures.erase(failure);
    if (loses_device(error)) {
      device_error = error;
      drain(*this);  // nothing runs any more: memory may go without being waited for
    }
    return error;
  }
  if (may_wait(name)) {
    for (CUstream_st& each : streams) {
      if (!each.captured) continue;
      each.capture_broken = true;
      complaints.add(text(name, "|captured"),
                     text(name, " called while ", each.name, " is captured"));
      return cudaErrorStreamCaptureUnsupported;
    }
  }
  if (needs == Needs::kNothing) return cudaSuccess;
  const cudaError_t error = standing_error();
  if (needs == Needs::kDriver && error != cudaErrorInsufficientDriver) return cudaSuccess;
  if (error != cudaSuccess) return error;
  if (needs == Needs::kDevice || has_context) return cudaSuccess;
  if (!take(machine.context_bytes)) return cudaErrorMemoryAllocation;
  has_context = true;
  return cudaSuccess;
}

cudaError_t Runtime::standing_error() const {
  // A driver serves all runtimes of its major version.
  if (machine.driver_version / 1000 < CUDART_VERSION / 1000) return cudaErrorInsufficientDriver;
  return machine.devices == 0 ? cudaErrorNoDevice : device_error;
}

std::size_t Runtime::free_bytes() const {
  const std::size_t taken = used_bytes + machine.others_bytes;
  return machine.total_bytes - std::min(taken, machine.total_bytes);
}

bool Runtime::take(std::size_t bytes) {
  if (bytes > free_bytes()) return false;
  used_bytes += bytes;
  peak_bytes = std::max(peak_bytes, used_bytes);
  return true;
}

CUstream_st* Runtime::stream(cudaStream_t handle) {
  if (handle == nullptr || handle == cudaStreamLegacy) return &streams.front();
  const auto found =
      std::ranges::find_if(streams, [&](const CUstream_st& each) { return &each == handle; });
  if (found == streams.end()) return nullptr;
  if (found->captured) {
    found->capture_broken = true;
    complaints.add(text(found->name, "|captured"),
                   text(found->name, " is captured, and given what isn't a kernel"));
    return nullptr;
  }
  if (found->alive) return handle;
  complaints.add(text(found->name, "|late"), text(found->name, " used after it was destroyed"));
  return nullptr;
}

CUstream_st* Runtime::capturing(cudaStream_t handle) {
  const auto found = std::ranges::find_if(
      streams, [&](const CUstream_st& each) { return &each == handle && each.captured; });
  return found == streams.end() ? nullptr : handle;
}

CUevent_st* Runtime::event(cudaEvent_t handle) const {
  return live_events.contains(handle) ? handle : nullptr;
}

CUstream_st& Runtime::add_stream(bool blocking) {
  const std::size_t number = streams.size();
  const std::uint64_t seed = machine.seed == 0 ? 0 : machine.seed * 1000 + number;
  return streams.emplace_back(CUstream_st{text("stream ", number), number + 1, blocking,
                                          std::make_unique<Queue>(seed), Clock{}, true});
}

cudaError_t remember(cudaError_t answer) {
  if (answer != cudaSuccess) last_error = answer;
  return answer;
}

cudaError_t last_error_of_thread(bool forget) {
  Runtime& runtime = Runtime::get();
  const Lock lock(runtime.mutex);
  if (const cudaError_t error = runtime.standing_error(); error != cudaSuccess) return error;
  return forget ? std::exchange(last_error, cudaSuccess) : last_error;
}

void synchronize(Runtime& runtime, Lock& lock, CUstream_st& stream) {
  runtime.host.join(stream.clock);
  const std::uint64_t number = stream.queue->given();
  lock.unlock();
  stream.queue->wait(number);
}

void synchronize_all(Runtime& runtime, Lock& lock) {
  std::vector<std::pair<Queue*, std::uint64_t>> all;
  for (CUstream_st& stream : runtime.streams) {
    runtime.host.join(stream.clock);
    all.emplace_back(stream.queue.get(), stream.queue->given());
  }
  lock.unlock();
  for (const auto& [queue, number] : all) queue->wait(number);
}

void drain(Runtime& runtime) {
  for (CUstream_st& stream : runtime.streams) stream.queue->wait(stream.queue->given());
}

}  // namespace sluice::fake_cuda
