// What `sluice probe` measures of a GPU, on the made-up one.
#include <doctest/doctest.h>

#include <cmath>
#include <memory>

#include "cli/planned_model.h"
#include "cli/probe_cache.h"
#include "cli/session.h"
#include "layers/gpu.h"
#include "offload/device_probe.h"
#include "tests/cuda/emulation.h"
#include "tests/cuda/runtime.h"
#include "tests/support/cache_home.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

using namespace sluice;
using sluice::testing::failure_of;

namespace {

void check_figure(double figure) {
  CHECK(std::isfinite(figure));
  CHECK(figure > 0.0);
}

// With the GPU's own rates as the host's, which would take as long again to measure.
MachineProbe probe_of(const Gpu& gpu, const DeviceRates& rates) {
  MachineProbe probe;
  probe.machine = this_machine(gpu.model());
  probe.rates.link = {{4_MiB, true, 10e9, 11e9}};
  probe.rates.copy_bytes_per_second = 9e9;
  probe.rates.host = rates.compute;
  for (ComputeRates& host : probe.rates.host) host.attention_alone_operations_per_second = 1e9;
  probe.rates.gpu = rates;
  return probe;
}

ComputeRates made_up_rates(double bytes_per_second) {
  ComputeRates rates;
  for (const DType type : kAllDTypes) {
    rates.products[static_cast<std::size_t>(type)] =
        ProductRate::roofline(type, bytes_per_second, 100.0 * bytes_per_second);
  }
  rates.attention_one_token_operations_per_second = bytes_per_second;
  rates.attention_operations_per_second = bytes_per_second;
  return rates;
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
    CHECK(fake_cuda::peak_bytes() <= before + 1_MiB);  // a graph's
    CHECK(fake_cuda::used_bytes() == before);
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
      check_figure(r.graph_step_seconds);
    }
    const MachineProbe kept = probe_of(*gpu, rates);
    const std::string json = probe_json(kept);
    CHECK(probe_json(parse_probe(json)) == json);
  }
  for (const std::string& line : fake_cuda::complaints_at_exit()) FAIL_CHECK(line);
  for (const std::string& line : emulation::violations()) FAIL_CHECK(line);
  emulation::clear_violations();
  fake_cuda::reset();
}

TEST_CASE("device probe: plans take it from the cache when asked to, of this GPU alone" *
          doctest::test_suite("slow")) {
  const testing::TemporaryFolder folder;
  const testing::CacheHome home(folder.path().native());
  const PlannedModel planned("tinyllama-1.1b", {});
  PlacementOptions options;
  options.device = DeviceChoice::kCuda;
  const auto hardware_on = [&](const char* gpu, bool cached) {
    fake_cuda::reset({.name = gpu});
    options.cached_rates = cached;
    const Target target = choose_target(options, planned.model().layout);
    return hardware_for(planned.model(), target);
  };
  {
    fake_cuda::reset({.name = "this GPU"});
    const std::unique_ptr<Gpu> gpu = open_gpu(0);
    DeviceRates rates{.compute = {}, .turn_seconds = 25e-6};
    rates.compute.fill(made_up_rates(123e6));
    write_cached(probe_of(*gpu, rates));
  }
  const auto byte_seconds = [](const ComputeRates& rates) {
    return rates.products[static_cast<std::size_t>(DType::kQ4_0)].seconds_per_byte[0];
  };
  const Hardware probed = hardware_on("this GPU", true);
  CHECK(probed.device_from == RatesFrom::kProbe);
  CHECK(byte_seconds(probed.device) == doctest::Approx(1.0 / 123e6));
  CHECK(probed.turn_seconds == 25e-6);
  CHECK(probed.to_device.bytes_per_second == 10e9);
  CHECK(probed.to_host.bytes_per_second == 11e9);
  CHECK(probed.copy_bytes_per_second == 0.0);
  const Hardware by_clocks = hardware_on("this GPU", false);
  CHECK(by_clocks.device_from == RatesFrom::kClocks);
  CHECK(byte_seconds(by_clocks.device) < 1.0 / 10e9);
  CHECK(failure_of([&] { hardware_on("another GPU", true); }).says("sluice probe"));
  fake_cuda::reset();
}
