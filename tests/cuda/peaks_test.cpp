// What a bench measures of a GPU before it plans.
#include <doctest/doctest.h>

#include <utility>

#include "layers/gpu.h"
#include "memory/units.h"
#include "tests/cuda/runtime.h"

using namespace sluice;

TEST_CASE("peaks: measuring takes no more memory than it is given, and gives all of it back") {
  for (const std::size_t most : {16_MiB, 100_MiB}) {
    CAPTURE(most);
    fake_cuda::reset();
    {
      const std::unique_ptr<Gpu> gpu = open_gpu(0);
      const std::size_t before = fake_cuda::used_bytes();
      const std::size_t overhead = gpu->overhead_bytes();
      const GpuRates rates = gpu->measure_peaks(most);
      CHECK(fake_cuda::used_bytes() == before);
      CHECK(fake_cuda::peak_bytes() <= before + most);
      CHECK(gpu->overhead_bytes() == overhead);
      CHECK(rates.memory_bytes_per_second > 1e6);
      CHECK(rates.f32_operations_per_second > 1e6);
      CHECK(rates.tensor_operations_per_second > 1e6);
      CHECK(rates.to_device.bytes_per_second > 1e6);
      CHECK(rates.to_host.bytes_per_second > 1e6);
    }
    for (const std::string& line : fake_cuda::complaints_at_exit()) FAIL_CHECK(line);
  }
  fake_cuda::reset();
}

TEST_CASE("rates: cards for games multiply halves at half the rate of others with the same chip") {
  const auto tensor_rate = [](const char* name, int major, int minor) {
    fake_cuda::reset({.name = name, .compute_major = major, .compute_minor = minor});
    return open_gpu(0)->measure_rates().tensor_operations_per_second;
  };
  for (const auto& [major, minor] : {std::pair{7, 5}, {8, 6}, {8, 9}, {12, 0}}) {
    CAPTURE(major);
    const double games = tensor_rate("NVIDIA GeForce RTX", major, minor);
    CHECK(tensor_rate("NVIDIA L4", major, minor) == 2.0 * games);
    CHECK(games > 0.0);
  }
  CHECK(tensor_rate("NVIDIA A100", 8, 0) == 2.0 * tensor_rate("NVIDIA A10", 8, 6));
  fake_cuda::reset();
}
