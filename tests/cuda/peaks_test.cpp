// What a bench measures of a GPU before it plans.
#include <doctest/doctest.h>

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
