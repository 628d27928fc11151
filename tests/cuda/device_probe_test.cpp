// What `sluice probe` measures of a GPU, on the made-up one.
#include <doctest/doctest.h>

#include <cmath>
#include <memory>

#include "layers/gpu.h"
#include "offload/device_probe.h"
#include "tests/cuda/emulation.h"
#include "tests/cuda/runtime.h"

using namespace sluice;

namespace {

void check_figure(double figure) {
  CHECK(std::isfinite(figure));
  CHECK(figure > 0.0);
}

}  // namespace

TEST_CASE("device probe: every figure is measured, within the memory it is given") {
  fake_cuda::reset();
  emulation::clear_violations();
  {
    const std::unique_ptr<Gpu> gpu = open_gpu(0);
    std::byte* memory = gpu->device().reserve(kDeviceProbeBytes);
    const std::size_t before = fake_cuda::used_bytes();
    std::size_t steps = 0;
    const DeviceRates rates = measure_device(gpu->device(), gpu->ops(), memory, [&] { ++steps; });
    CHECK(steps == kDeviceSteps);
    CHECK(fake_cuda::peak_bytes() == before);
    CHECK(rates.turn_seconds >= 0.0);
    for (const ComputeRates& r : rates.compute) {
      for (const ProductRate& rate : r.products) {
        for (const double seconds : rate.seconds_per_byte) check_figure(seconds);
      }
      for (const auto* table : {&r.element_seconds, &r.rotate_seconds}) {
        for (const double seconds : *table) check_figure(seconds);
      }
      for (const double seconds : r.cut_seconds) CHECK(seconds >= 0.0);
      for (const AttentionShares& share : r.attention_shares) {
        check_figure(share.one_token);
        check_figure(share.many);
      }
      check_figure(r.attention_one_token_operations_per_second);
      check_figure(r.attention_operations_per_second);
      check_figure(r.cache_bytes_per_second);
      check_figure(r.step_seconds);
    }
  }
  for (const std::string& line : fake_cuda::complaints_at_exit()) FAIL_CHECK(line);
  for (const std::string& line : emulation::violations()) FAIL_CHECK(line);
  emulation::clear_violations();
  fake_cuda::reset();
}
