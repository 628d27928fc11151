#include "layers/cuda/peaks.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <memory>

#include "layers/cuda/cublas_library.h"
#include "layers/cuda/peak_kernels.h"
#include "memory/clock.h"
#include "memory/cuda/check.h"
#include "memory/error.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr int kRuns = 3;
constexpr double kRunSeconds = 5e-3;    // at least, so that starting it doesn't matter
constexpr double kWarmUpSeconds = 0.1;  // until clocks are up
constexpr std::size_t kMostBytes = 1024_MiB;
constexpr std::size_t kLeastBytes = 8_MiB;
constexpr std::size_t kSinkBytes = 2_MiB;
constexpr std::size_t kLinkCopyBytes = 64_MiB;
constexpr std::size_t kLeastEdge = 256;
constexpr std::size_t kMostEdge = 8192;

constexpr const char* kMeasuring = "measuring the GPU";

class Peaks {
 public:
  Peaks(DeviceCuda& device, std::size_t bytes) : device_(device), bytes_(bytes), stream_(device) {
    void* begin = nullptr;
    check_cuda(cudaMalloc(&begin, bytes + kSinkBytes), "taking memory to measure the GPU");
    memory_.reset(static_cast<std::byte*>(begin));
    sink_ = memory_.get() + bytes;
    done_ = device.make_event();
  }

  double f32_operations_per_second() {
    const double begin = now_seconds();
    double rate = 0.0;
    do {
      rate = most_per_second([&](std::size_t steps) {
        return multiply_add(stream_.handle(), 64 * steps, sink_, device_.processors());
      });
    } while (now_seconds() - begin < kWarmUpSeconds);
    return rate;
  }

  double memory_bytes_per_second() {
    return most_per_second([&](std::size_t times) {
      read_all(stream_.handle(), memory_.get(), bytes_, times, sink_, device_.processors());
      return static_cast<double>(times * bytes_);
    });
  }

  // The largest square product that there is memory for, unless a smaller one takes long already.
  double tensor_operations_per_second() {
    const CublasLibrary& library = cublas_library();
    cublasHandle_t handle = nullptr;
    check_cublas(library.create(&handle), kMeasuring);
    const std::unique_ptr<cublasContext, decltype(library.destroy)> owner(handle, library.destroy);
    check_cublas(library.set_stream(handle, stream_.handle()), kMeasuring);
    double rate = 0.0;
    for (std::size_t edge = kLeastEdge; edge <= kMostEdge && product_bytes(edge) <= bytes_;
         edge *= 2) {
      const std::size_t halves = edge * edge;
      std::byte* out = memory_.get() + 2 * halves * kHalfBytes;
      std::byte* workspace = out + halves * sizeof(float);
      check_cublas(library.set_workspace(handle, workspace, workspace_bytes()), kMeasuring);
      fill_halves(stream_.handle(), memory_.get(), 2 * halves);
      rate = std::max(rate, most_per_second([&](std::size_t times) {
                        for (std::size_t i = 0; i < times; ++i) multiply(handle, edge, out);
                        return 2.0 * static_cast<double>(halves * edge * times);
                      }));
      if (last_seconds_ > 10 * kRunSeconds) break;
    }
    return rate;
  }

 private:
  static constexpr std::size_t kHalfBytes = 2;

  std::size_t workspace_bytes() const { return bytes_ >= 128_MiB ? 32_MiB : 4_MiB; }
  std::size_t product_bytes(std::size_t edge) const {
    return edge * edge * (2 * kHalfBytes + sizeof(float)) + workspace_bytes();
  }

  // As the engine's products are: both factors row by row, sums and result in f32.
  void multiply(cublasHandle_t handle, std::size_t edge, std::byte* out) {
    const auto n = static_cast<int>(edge);
    const float one = 1.0f;
    const float zero = 0.0f;
    check_cublas(cublas_library().gemm_ex(
                     handle, CUBLAS_OP_T, CUBLAS_OP_N, n, n, n, &one, memory_.get(), CUDA_R_16F, n,
                     memory_.get() + edge * edge * kHalfBytes, CUDA_R_16F, n, &zero, out,
                     CUDA_R_32F, n, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                 kMeasuring);
  }

  // Of what work(repeats) returns, at as many repeats as make the run long enough.
  template <typename Work>
  double most_per_second(const Work& work) {
    for (std::size_t repeats = 1;; repeats *= 2) {
      double amount = 0.0;
      last_seconds_ = best_seconds(kRuns, [&] {
        amount = work(repeats);
        stream_.record(*done_);
        done_->synchronize();
      });
      if (last_seconds_ >= kRunSeconds) return amount / last_seconds_;
    }
  }

  DeviceCuda& device_;
  std::size_t bytes_;
  struct Free {
    void operator()(std::byte* begin) const { cudaFree(begin); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  std::byte* sink_;
  std::unique_ptr<Event> done_;
  CudaStream stream_;  // goes first: it ends its work, which uses the memory
  double last_seconds_ = 0.0;
};

}  // namespace

GpuRates measure_peaks(DeviceCuda& device, std::size_t most_bytes) {
  GpuRates rates{};
  const std::size_t bytes =
      std::clamp(most_bytes - std::min(most_bytes, kSinkBytes), kLeastBytes, kMostBytes) /
      kLeastBytes * kLeastBytes;
  device.count_overhead([&] {
    {
      Peaks peaks(device, bytes);
      rates.f32_operations_per_second = peaks.f32_operations_per_second();
      rates.tensor_operations_per_second = peaks.tensor_operations_per_second();
      rates.memory_bytes_per_second = peaks.memory_bytes_per_second();
    }
    const std::size_t copy_bytes = std::min(bytes, kLinkCopyBytes);
    rates.to_device = device.measure_link(Direction::kToDevice, copy_bytes);
    rates.to_host = device.measure_link(Direction::kToHost, copy_bytes);
  });
  return rates;
}

}  // namespace sluice
