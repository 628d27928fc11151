// A GPU with its operations, arrays on it, and the orders in which its threads run: a made-up one,
// or with SLUICE_ON_GPU the machine's, whose threads run as they do.
#pragma once

#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "layers/cuda/ops_cuda.h"
#include "memory/cuda/device_cuda.h"
#include "memory/parallel.h"
#include "tests/cuda/runtime.h"
#ifndef SLUICE_ON_GPU
#include "tests/cuda/emulation.h"
#endif

namespace sluice::testing {

#ifdef SLUICE_ON_GPU

template <typename Check>
void in_each_order(const Check& check) {
  check();
}

// Near enough to the host for it to look in while the GPU is idle.
inline cudaError_t take_memory(void** memory, std::size_t bytes) {
  return cudaMallocManaged(memory, bytes);
}

inline void start_machine(const fake_cuda::Machine& /*machine*/) {}
inline void check_silent() {}

#else

// Forward, reverse and one at random. Kernels whose result depends on the order are wrong. The
// thread sanitizer, under which all takes long, finds races in any one order.
#ifdef SLUICE_TSAN
constexpr std::array kOrders = {emulation::Order::kRandom};
#else
constexpr std::array kOrders = {emulation::Order::kForward, emulation::Order::kReverse,
                                emulation::Order::kRandom};
#endif
template <typename Check>
void in_each_order(const Check& check) {
  for (const emulation::Order order : kOrders) {
    emulation::set_order(order, 11);
    CAPTURE(static_cast<int>(order));
    check();
  }
  emulation::reset_order();
}

inline cudaError_t take_memory(void** memory, std::size_t bytes) {
  return cudaMalloc(memory, bytes);
}

inline void start_machine(const fake_cuda::Machine& machine) {
  fake_cuda::reset(machine);
  emulation::clear_violations();
}

// Nothing was used wrongly.
inline void check_silent() {
  for (const std::string& line : fake_cuda::complaints()) FAIL(line);
  const std::vector<std::string> violations = emulation::violations();
  emulation::clear_violations();
  for (const std::string& line : violations) FAIL(line);
}

#endif

// `count` of T on the device, NaN or -1 where nothing was stored, and so for some bytes on either
// side, which nobody may write to. The host reads and writes it while the GPU is idle.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(std::size_t count) : count_(count) {
    void* memory = nullptr;
    REQUIRE(take_memory(&memory, count * sizeof(T) + 2 * kZoneBytes) == cudaSuccess);
    memory_ = static_cast<std::byte*>(memory);
    std::memset(memory_, 0xff, count * sizeof(T) + 2 * kZoneBytes);
  }
  template <typename Values>
  explicit DeviceArray(const Values& values) : DeviceArray(std::size(values)) {
    for (std::size_t i = 0; i < count_; ++i) data()[i] = static_cast<T>(values[i]);
  }
  ~DeviceArray() {
    bool intact = true;
    for (std::size_t i = 0; i < kZoneBytes; ++i) {
      intact &= memory_[i] == std::byte{0xff};
      intact &= memory_[kZoneBytes + count_ * sizeof(T) + i] == std::byte{0xff};
    }
    CHECK_MESSAGE(intact, "written to outside of an array");
    (void)cudaFree(memory_);
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return reinterpret_cast<T*>(memory_ + kZoneBytes); }
  std::size_t size() const { return count_; }
  T& operator[](std::size_t i) const { return data()[i]; }
  void fill(T value) { std::fill_n(data(), count_, value); }
  // As it was at the start.
  void clear() { std::memset(data(), 0xff, count_ * sizeof(T)); }
  std::vector<T> values() const { return {data(), data() + count_}; }

 private:
  static constexpr std::size_t kZoneBytes = 512;
  std::byte* memory_ = nullptr;
  std::size_t count_;
};

// Operations run at once: each call returns when the GPU is idle, and nothing may have been wrong.
class TestGpu {
 public:
  explicit TestGpu(const fake_cuda::Machine& machine = {}) : start_(machine) {}

  template <typename Work>
  void run(const Work& work) {
    work(static_cast<OpsCuda&>(ops_), *stream_);
    REQUIRE(cudaStreamSynchronize(handle()) == cudaSuccess);
    check_silent();
  }
  cudaStream_t handle() const { return static_cast<CudaStream&>(*stream_).handle(); }

  void lend(const ScratchSizes& sizes, Precision precision) {
    scratch_ = std::make_unique<DeviceArray<std::byte>>(sizes.total() + 1);
    ops_.use_scratch(scratch_->data(), sizes, precision);
  }

 private:
  struct Start {
    explicit Start(const fake_cuda::Machine& machine) { start_machine(machine); }
  };
  Start start_;
  DeviceCuda device_{0};
  OpsCuda ops_{device_};
  std::unique_ptr<DeviceArray<std::byte>> scratch_;
  std::unique_ptr<Stream> stream_ = device_.make_stream("test");
};

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

}  // namespace sluice::testing
