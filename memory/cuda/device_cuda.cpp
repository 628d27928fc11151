#include "memory/cuda/device_cuda.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cassert>
#include <cstring>

#include "memory/clock.h"
#include "memory/cuda/check.h"
#include "memory/cuda/nvml.h"
#include "memory/error.h"
#include "memory/host_store.h"
#include "memory/units.h"

namespace sluice {
namespace {

// The driver hands memory out in pages of this size.
constexpr std::size_t kDevicePageBytes = 2_MiB;
// Code that is loaded when it is first needed, after the context has been measured; and a graph.
constexpr std::size_t kLaterCodeBytes = 32_MiB;
constexpr std::size_t kLargestChunkBytes = 1024_MiB;
constexpr std::size_t kSmallestChunkBytes = 16_MiB;
// A host that waits longer than this for the device leaves its core to others.
constexpr double kSpinSeconds = 100e-6;

std::string version_text(int version) {
  return text(version / 1000, ".", version % 1000 / 10);
}

// Refuses with the reason and what to do about it, where there is no GPU to be had.
void require_gpu(int gpu) {
  int count = 0;
  const cudaError_t answer = cudaGetDeviceCount(&count);
  if (answer == cudaErrorInsufficientDriver) {
    int driver = 0;
    int runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0) {
      throw Error(ErrorKind::kDevice, "no NVIDIA driver here; install one, or use --device cpu");
    }
    throw Error(ErrorKind::kDevice,
                text("the NVIDIA driver is too old: it knows CUDA ", version_text(driver),
                     ", this sluice was built with ", version_text(runtime),
                     "; update it, or use --device cpu"));
  }
  if (answer == cudaErrorNoDevice || (answer == cudaSuccess && count == 0)) {
    throw Error(ErrorKind::kDevice,
                "the NVIDIA driver sees no GPU (is CUDA_VISIBLE_DEVICES empty?); use --device cpu");
  }
  check_cuda(answer, "looking for GPUs");
  if (gpu >= 0 && gpu < count) return;
  throw Error(ErrorKind::kUsage,
              text("--gpu ", gpu, ": this machine has ", count, ", numbered from 0"));
}

std::string driver_words(cudaError_t answer) {
  return text(cudaGetErrorString(answer), " (", cudaGetErrorName(answer), ")");
}

std::string pin_warning(std::size_t pinned, std::size_t bytes, cudaError_t answer) {
  return text("only ", print_bytes(pinned), " of ", print_bytes(bytes),
              " of host memory could be pinned: ", driver_words(answer),
              "; copies of the rest are slower and hold up the computation. Free host memory, or"
              " raise the limit for locked memory (`ulimit -l`)");
}

// Whether `event` has been reached. That it hasn't is no error, and must not be found as the last
// one.
cudaError_t query(cudaEvent_t event) {
  const cudaError_t answer = cudaEventQuery(event);
  if (answer == cudaErrorNotReady) cudaGetLastError();
  return answer;
}

}  // namespace

class CudaEvent final : public Event {
 public:
  explicit CudaEvent(DeviceCuda& device) : device_(device) {
    check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming | cudaEventBlockingSync),
               "making an event");
  }
  ~CudaEvent() override { cudaEventDestroy(event_); }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;

  void synchronize() override {
    const double begin = now_seconds();
    cudaError_t answer = query(event_);
    while (answer == cudaErrorNotReady && now_seconds() - begin < kSpinSeconds) {
      answer = query(event_);
    }
    if (answer == cudaErrorNotReady) answer = cudaEventSynchronize(event_);
    check_cuda(answer, "waiting for the GPU");
    device_.settle_stamps();
  }
  bool reached() override {
    const cudaError_t answer = query(event_);
    if (answer != cudaErrorNotReady) check_cuda(answer, "waiting for the GPU");
    return answer == cudaSuccess;
  }
  cudaEvent_t handle() const { return event_; }

 private:
  DeviceCuda& device_;
  cudaEvent_t event_ = nullptr;
};

// ---- Streams.

CudaStream::CudaStream(DeviceCuda& device) : device_(device) {
  check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
}

CudaStream::~CudaStream() {
  cudaStreamSynchronize(stream_);
  cudaStreamDestroy(stream_);
}

void CudaStream::record(Event& event) {
  check_cuda(cudaEventRecord(static_cast<CudaEvent&>(event).handle(), stream_),
             "recording an event");
}

void CudaStream::wait(Event& event) {
  check_cuda(cudaStreamWaitEvent(stream_, static_cast<CudaEvent&>(event).handle(), 0),
             "waiting for an event");
}

void CudaStream::stamp(double* seconds) {
  device_.stamp(stream_, seconds);
}

// ---- The device.

DeviceCuda::DeviceCuda(int gpu) : gpu_(gpu) {
  require_gpu(gpu);
  char bus_id[32] = {};
  check_cuda(cudaDeviceGetPCIBusId(bus_id, sizeof(bus_id), gpu), "asking for the GPU's bus");
  pci_bus_id_ = bus_id;
  const std::optional<std::size_t> before = device_used_bytes(pci_bus_id_);
  check_cuda(cudaSetDevice(gpu), "starting on the GPU");
  std::size_t free = 0;
  std::size_t total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "starting on the GPU");
  // Where the driver doesn't tell what there was before, all that is taken counts as ours.
  overhead_bytes_ = total - free;
  if (const auto after = device_used_bytes(pci_bus_id_); before && after && *after >= *before) {
    overhead_bytes_ = std::min(overhead_bytes_, *after - *before);
  }
  overhead_bytes_ += kLaterCodeBytes + kDevicePageBytes;

  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, gpu), "asking for the GPU's properties");
  model_ = properties.name;
  compute_capability_ = properties.major * 10 + properties.minor;
  processors_ = static_cast<std::size_t>(properties.multiProcessorCount);
}

DeviceCuda::~DeviceCuda() {
  for (const Stamp& stamp : stamps_) cudaEventDestroy(stamp.event);
  for (const cudaEvent_t event : spare_events_) cudaEventDestroy(event);
  if (epoch_ != nullptr) cudaEventDestroy(epoch_);
  while (!pinned_.empty()) unpin(pinned_.back().begin);
  if (reserved_ != nullptr) cudaFree(reserved_);
}

std::byte* DeviceCuda::reserve(std::size_t bytes) {
  assert(reserved_ == nullptr && "a device's memory is taken once");
  void* begin = nullptr;
  const cudaError_t answer = cudaMalloc(&begin, std::max<std::size_t>(bytes, 1));
  if (answer == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw Error(ErrorKind::kOverBudget,
                text("the GPU has ", print_bytes(free_bytes()), " free, the plan takes ",
                     print_bytes(bytes), " beside ", print_bytes(overhead_bytes_),
                     " of the driver's; lower --vram to ",
                     print_bytes(free_bytes() + overhead_bytes_), " or less"));
  }
  check_cuda(answer, "taking the GPU's memory");
  reserved_ = static_cast<std::byte*>(begin);
  reserved_bytes_ = bytes;
  return reserved_;
}

std::unique_ptr<Stream> DeviceCuda::make_stream(std::string_view) {
  return std::make_unique<CudaStream>(*this);
}

std::unique_ptr<Event> DeviceCuda::make_event() {
  return std::make_unique<CudaEvent>(*this);
}

void DeviceCuda::copy(Stream& stream, Direction direction, std::byte* to, const std::byte* from,
                      std::size_t bytes, Span* span) {
  const cudaStream_t handle = static_cast<CudaStream&>(stream).handle();
  const bool down = direction == Direction::kToHost;
  if (span != nullptr) stamp(handle, &span->begin_seconds);
  while (bytes > 0) {
    const std::size_t now = bytes_in_one_chunk(down ? to : from, bytes);
    check_cuda(cudaMemcpyAsync(to, from, now,
                               down ? cudaMemcpyDeviceToHost : cudaMemcpyHostToDevice, handle),
               down ? "a copy to host memory" : "a copy to the GPU");
    to += now;
    from += now;
    bytes -= now;
  }
  if (span != nullptr) stamp(handle, &span->end_seconds);
}

void DeviceCuda::call(Stream& stream, Event& turn, const HostWork& work) {
  stream.record(turn);
  turn.synchronize();
  work();
}

std::size_t DeviceCuda::free_bytes() const {
  std::size_t free = 0;
  std::size_t total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "asking for the GPU's free memory");
  return free;
}

std::size_t DeviceCuda::used_bytes() const {
  std::size_t free = 0;
  std::size_t total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "asking for the GPU's free memory");
  return total - free;
}

// ---- Pinned host memory.

std::string DeviceCuda::pin(std::byte* begin, std::size_t bytes) {
  if (bytes == 0) return {};
  Pinned pinned{begin, 0, std::min(bytes, kLargestChunkBytes)};
  cudaError_t answer = cudaSuccess;
  while (pinned.bytes < bytes) {
    const std::size_t chunk = std::min(pinned.chunk_bytes, bytes - pinned.bytes);
    answer = cudaHostRegister(begin + pinned.bytes, chunk, cudaHostRegisterDefault);
    if (answer == cudaSuccess) {
      pinned.bytes += chunk;
      continue;
    }
    cudaGetLastError();
    // Smaller ones may still be had, as long as there are none of another size.
    const std::size_t smaller = align_up(pinned.chunk_bytes / 4, kSmallestChunkBytes);
    if (pinned.bytes > 0 || smaller >= pinned.chunk_bytes) break;
    pinned.chunk_bytes = smaller;
  }
  if (pinned.bytes > 0) pinned_.push_back(pinned);
  return pinned.bytes == bytes ? std::string() : pin_warning(pinned.bytes, bytes, answer);
}

void DeviceCuda::unpin(std::byte* begin) {
  const auto found = std::find_if(pinned_.begin(), pinned_.end(),
                                  [&](const Pinned& pinned) { return pinned.begin == begin; });
  if (found == pinned_.end()) return;
  for (std::size_t at = 0; at < found->bytes; at += found->chunk_bytes) {
    cudaHostUnregister(found->begin + at);
  }
  pinned_.erase(found);
}

std::size_t DeviceCuda::bytes_in_one_chunk(const std::byte* host, std::size_t bytes) const {
  for (const Pinned& pinned : pinned_) {
    if (host < pinned.begin || host >= pinned.begin + pinned.bytes) continue;
    const auto at = static_cast<std::size_t>(host - pinned.begin);
    const std::size_t end =
        std::min((at / pinned.chunk_bytes + 1) * pinned.chunk_bytes, pinned.bytes);
    return std::min(bytes, end - at);
  }
  return bytes;
}

// ---- Rates.

CudaClocks DeviceCuda::clocks() const {
  constexpr double kKilohertz = 1e3;
  constexpr double kEdgesPerClock = 2.0;
  // Where the driver doesn't tell, what no GPU of today falls short of.
  constexpr double kLeastProcessorHertz = 1e9;
  constexpr double kLeastMemoryRate = 1e11;
  const auto ask = [this](cudaDeviceAttr what) {
    int value = 0;
    if (cudaDeviceGetAttribute(&value, what, gpu_) != cudaSuccess) cudaGetLastError();
    return static_cast<double>(value);
  };
  const double bus_bytes = ask(cudaDevAttrGlobalMemoryBusWidth) / 8.0;
  const double memory_hertz = ask(cudaDevAttrMemoryClockRate) * kKilohertz;
  return {std::max(ask(cudaDevAttrClockRate) * kKilohertz, kLeastProcessorHertz),
          std::max(memory_hertz * kEdgesPerClock * bus_bytes, kLeastMemoryRate)};
}

LinkSpeed DeviceCuda::measure_link(Direction direction, std::size_t bytes) {
  constexpr int kCopies = 8;
  HostStore host(bytes);
  std::memset(host.data(), 0, bytes);
  host.pin(*this);
  void* there = nullptr;
  check_cuda(cudaMalloc(&there, bytes), "taking memory to measure the link");
  const std::unique_ptr<void, decltype(&cudaFree)> owner(there, &cudaFree);
  CudaStream stream(*this);
  CudaEvent done(*this);
  const auto copy_all = [&](int copies, std::size_t each_bytes) {
    auto* device = static_cast<std::byte*>(there);
    const bool up = direction == Direction::kToDevice;
    for (int i = 0; i < copies; ++i) {
      copy(stream, direction, up ? device : host.data(), up ? host.data() : device, each_bytes);
    }
    stream.record(done);
    done.synchronize();
  };
  copy_all(1, bytes);
  const double seconds = best_seconds(3, [&] { copy_all(kCopies, bytes); });
  const double latency = best_seconds(3, [&] { copy_all(1, 1); });
  return {.bytes_per_second = kCopies * static_cast<double>(bytes) / seconds,
          .latency_seconds = latency};
}

// ---- Spans.

void DeviceCuda::time_spans() {
  if (epoch_ != nullptr) return;
  check_cuda(cudaEventCreateWithFlags(&epoch_, cudaEventDefault), "making an event");
  CudaStream stream(*this);
  check_cuda(cudaEventRecord(epoch_, stream.handle()), "recording an event");
  check_cuda(cudaEventSynchronize(epoch_), "waiting for the GPU");
  epoch_seconds_ = now_seconds();
}

void DeviceCuda::stamp(cudaStream_t stream, double* seconds) {
  if (epoch_ == nullptr) return;
  if (spare_events_.empty()) {
    cudaEvent_t event = nullptr;
    check_cuda(cudaEventCreateWithFlags(&event, cudaEventDefault), "making an event");
    spare_events_.push_back(event);
  }
  const cudaEvent_t event = spare_events_.back();
  spare_events_.pop_back();
  check_cuda(cudaEventRecord(event, stream), "recording an event");
  stamps_.push_back({event, seconds});
}

void DeviceCuda::settle_stamps() {
  std::erase_if(stamps_, [this](const Stamp& stamp) {
    if (query(stamp.event) != cudaSuccess) return false;
    float milliseconds = 0.0f;
    check_cuda(cudaEventElapsedTime(&milliseconds, epoch_, stamp.event), "reading a time");
    *stamp.seconds = epoch_seconds_ + static_cast<double>(milliseconds) * 1e-3;
    spare_events_.push_back(stamp.event);
    return true;
  });
}

}  // namespace sluice
