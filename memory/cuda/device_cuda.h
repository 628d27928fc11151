// A GPU as a device: one allocation, streams, and copies over the bus.
#pragma once

#include <driver_types.h>

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "memory/device.h"
#include "memory/link.h"

namespace sluice {

struct CudaClocks {
  double processor_hertz;
  double memory_bytes_per_second;
};

// The driver's context is made, and what it takes is measured, in the constructor. Stamps and
// spans are left as they are until they are asked for, since events with times cost time.
class DeviceCuda final : public Device {
 public:
  static constexpr std::size_t kLinkProbeBytes = std::size_t{4} << 20;

  // Throws Error{kDevice} where there is no driver, one that is too old, or no such GPU.
  explicit DeviceCuda(int gpu);
  ~DeviceCuda() override;
  DeviceCuda(const DeviceCuda&) = delete;
  DeviceCuda& operator=(const DeviceCuda&) = delete;

  std::string_view name() const override { return "cuda"; }
  bool in_place() const override { return false; }
  std::byte* reserve(std::size_t bytes) override;
  std::size_t reserved_bytes() const override { return reserved_bytes_; }
  std::unique_ptr<Stream> make_stream(std::string_view name) override;
  std::unique_ptr<Event> make_event() override;
  void copy(Stream& stream, Direction direction, std::byte* to, const std::byte* from,
            std::size_t bytes, Span* span = nullptr) override;
  void call(Stream& stream, Event& turn, const HostWork& work) override;
  // Null where spans are timed, too: a stamp is of one pass.
  std::unique_ptr<Graph> capture(Stream& stream, const std::function<void()>& work) override;
  // Registers the memory with the driver in chunks, as large as it takes them.
  std::string pin(std::byte* begin, std::size_t bytes) override;
  void unpin(std::byte* begin) override;

  const std::string& model() const { return model_; }             // "NVIDIA GeForce RTX 4090"
  int compute_capability() const { return compute_capability_; }  // 89 for 8.9
  std::size_t processors() const { return processors_; }
  std::size_t free_bytes() const;
  // As the driver tells them.
  CudaClocks clocks() const;
  // By copying to or from pinned memory for some milliseconds, `bytes` at a time, and as many of
  // the device's memory.
  LinkSpeed measure_link(Direction direction, std::size_t bytes = kLinkProbeBytes);
  void time_spans();
  // Calls `work`, which makes the driver take memory of its own, and counts what it took.
  template <typename Work>
  void count_overhead(const Work& work) {
    const std::size_t before = used_bytes();
    work();
    const std::size_t after = used_bytes();
    if (after > before) overhead_bytes_ += after - before;
  }
  // What this process holds of the GPU beside the reservation.
  std::size_t overhead_bytes() const { return overhead_bytes_; }

 private:
  friend class CudaStream;
  friend class CudaEvent;

  // Host memory that copies may read and write beside everything else. No copy may cross from one
  // of its chunks to the next.
  struct Pinned {
    std::byte* begin;
    std::size_t bytes;        // those that could be pinned
    std::size_t chunk_bytes;  // each, but for the last
  };
  struct Stamp {
    cudaEvent_t event;
    double* seconds;
  };

  std::size_t used_bytes() const;
  std::size_t bytes_in_one_chunk(const std::byte* host, std::size_t bytes) const;
  void stamp(cudaStream_t stream, double* seconds);
  // Fills in the stamps that have been reached.
  void settle_stamps();

  int gpu_;
  std::string model_;
  std::string pci_bus_id_;
  int compute_capability_ = 0;
  std::size_t processors_ = 0;
  std::size_t overhead_bytes_ = 0;
  std::byte* reserved_ = nullptr;
  std::size_t reserved_bytes_ = 0;
  std::vector<Pinned> pinned_;
  cudaEvent_t epoch_ = nullptr;  // reached at epoch_seconds_; null: nothing is timed
  double epoch_seconds_ = 0.0;
  std::deque<Stamp> stamps_;
  std::vector<cudaEvent_t> spare_events_;
};

class CudaStream final : public Stream {
 public:
  explicit CudaStream(DeviceCuda& device);
  ~CudaStream() override;  // after all work given
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;

  void record(Event& event) override;
  void wait(Event& event) override;
  void stamp(double* seconds) override;
  cudaStream_t handle() const { return stream_; }

 private:
  DeviceCuda& device_;
  cudaStream_t stream_ = nullptr;
};

}  // namespace sluice
