// layers/gpu.h on CUDA.
#include "layers/gpu.h"

#include "layers/cuda/ops_cuda.h"
#include "layers/cuda/peaks.h"
#include "memory/cuda/device_cuda.h"

namespace sluice {
namespace {

class CudaGpu final : public Gpu {
 public:
  explicit CudaGpu(int index) : device_(index), ops_(device_) {}

  const std::string& model() const override { return device_.model(); }
  Device& device() override { return device_; }
  Ops& ops() override { return ops_; }
  std::size_t free_bytes() const override { return device_.free_bytes(); }
  std::size_t overhead_bytes() const override { return device_.overhead_bytes(); }
  void time_spans() override { device_.time_spans(); }

  GpuRates measure_rates() override {
    const CudaClocks clocks = device_.clocks();
    const double processor_cycles =
        static_cast<double>(device_.processors()) * clocks.processor_hertz;
    return {.memory_bytes_per_second = clocks.memory_bytes_per_second,
            .tensor_operations_per_second = processor_cycles * tensor_operations_per_cycle(),
            .f32_operations_per_second = processor_cycles * f32_operations_per_cycle(),
            .to_device = device_.measure_link(Direction::kToDevice),
            .to_host = device_.measure_link(Direction::kToHost)};
  }

  GpuRates measure_peaks(std::size_t most_bytes) override {
    return sluice::measure_peaks(device_, most_bytes);
  }

 private:
  // Of one processor: dense halves summed in f32, as NVIDIA's white papers of Turing, Ampere GA102,
  // Ada and Blackwell have it. GeForce cards do that at half the rate of workstation and data
  // centre cards of the same chips: T4, A10 and L4 are sold by 65, 125 and 121 TFLOPS.
  double tensor_operations_per_cycle() const {
    switch (device_.compute_capability()) {
      case 80:
        return 2048.0;
      case 90:
        return 4096.0;
      case 100:
      case 103:
        return 8192.0;
      default:
        return device_.model().find("GeForce") == std::string::npos ? 1024.0 : 512.0;
    }
  }
  double f32_operations_per_cycle() const {
    const int capability = device_.compute_capability();
    return capability == 75 || capability == 80 ? 128.0 : 256.0;
  }

  DeviceCuda device_;
  OpsCuda ops_;
};

}  // namespace

bool built_with_gpu() {
  return true;
}

std::unique_ptr<Gpu> open_gpu(int index) {
  return std::make_unique<CudaGpu>(index);
}

}  // namespace sluice
