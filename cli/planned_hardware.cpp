#include "cli/planned_hardware.h"

#include <algorithm>

#include "layers/products.h"
#include "memory/error.h"
#include "memory/units.h"

namespace sluice {
namespace {

// Shares of a processor's peak that Sluice reaches: docs/measurements/cpu.md.
constexpr double kOfInt8 = 0.7;
constexpr double kOfInt16 = 0.7 * 0.6;  // the same instructions, on activations of two bytes
constexpr double kOfFloats = 0.9;
constexpr double kOfAttention = 0.5;
// SwiGLU's 0.7 ns a value, where f32's peak is 0.48e12 operations a second.
constexpr double kOperationsPerElement = 340.0;
constexpr double kStepSeconds = 5e-6;
// Where the link could carry all that the memory gives, neither starves the other.
constexpr double kLeastShare = 0.1;

double operations_per_second(const HostProfile& host, DType type, Precision precision) {
  switch (activation_form(type, precision)) {
    case ActivationForm::kInt8:
      return kOfInt8 * host.int8_operations_per_second;
    case ActivationForm::kInt16:
      return kOfInt16 * host.int8_operations_per_second;
    case ActivationForm::kBf16:
      return kOfFloats * std::max(host.bf16_operations_per_second, host.f32_operations_per_second);
    case ActivationForm::kF32:
      break;
  }
  return kOfFloats * host.f32_operations_per_second;
}

double reached_bytes_per_second(const HostProfile& host) {
  return host.memory_share * host.memory_bytes_per_second;
}

LinkSpeed speed_of(const LinkProfile& link) {
  return {.bytes_per_second = link.pinned_bytes_per_second,
          .latency_seconds = link.latency_seconds};
}

}  // namespace

ComputeRates host_rates(const HostProfile& host, Precision precision,
                        double link_bytes_per_second) {
  const double bus = reached_bytes_per_second(host);
  const double f32 = host.f32_operations_per_second;
  ComputeRates rates;
  for (std::size_t i = 0; i < kDTypeCount; ++i) {
    rates.products[i] = ProductRate::roofline(
        kAllDTypes[i], bus, operations_per_second(host, kAllDTypes[i], precision));
  }
  rates.attention_operations_per_second = kOfAttention * f32;
  rates.attention_one_token_operations_per_second = kOfAttention * f32;
  rates.cache_bytes_per_second = bus;
  rates.element_seconds = ProductRate::in_proportion(kOperationsPerElement / f32);
  rates.step_seconds = kStepSeconds;
  rates.share_beside_copies = std::clamp((bus - link_bytes_per_second) / bus, kLeastShare, 1.0);
  return rates;
}

Hardware PlannedHardware::rates(Precision precision) const {
  LinkSpeed speed = link;  // which carries no more than the host's memory gives
  speed.bytes_per_second = std::min(speed.bytes_per_second, reached_bytes_per_second(host));
  const GpuRates peak{.memory_bytes_per_second = gpu.memory_bytes_per_second,
                      .tensor_operations_per_second = gpu.tensor_operations_per_second,
                      .f32_operations_per_second = gpu.f32_operations_per_second,
                      .to_device = speed,
                      .to_host = speed};
  Hardware hardware =
      gpu_hardware(peak, precision, host_rates(host, precision, speed.bytes_per_second));
  hardware.device_from = RatesFrom::kProfile;
  hardware.disk = {.bytes_per_second = disk.read_bytes_per_second,
                   .latency_seconds = disk.latency_seconds};
  return hardware;
}

std::string PlannedHardware::describe() const {
  return text(gpu.title, " (", print_bytes(memory_bytes()), ") beside ", host.name, " (",
              print_rate(reached_bytes_per_second(host)), "), over ", link_name,
              link_name.empty() ? "" : " at ", print_rate(link.bytes_per_second));
}

PlannedHardware find_hardware(const HardwareOptions& options, std::optional<LinkSpeed> link) {
  const HardwareProfiles all = known_hardware(options.files);
  PlannedHardware found;
  found.gpu = all.gpu(options.gpu, "--gpu");
  found.host =
      all.host(options.host.empty() ? kDefaultHost : std::string_view(options.host), "--host");
  found.disk =
      all.disk(options.disk.empty() ? kDefaultDisk : std::string_view(options.disk), "--disk");
  if (link) {
    found.link = *link;
    return found;
  }
  found.link_name = options.link.empty() ? found.gpu.link : options.link;
  found.link = speed_of(all.link(found.link_name, "--link"));
  return found;
}

LinkSpeed find_link(const HardwareOptions& options) {
  return speed_of(known_hardware(options.files).link(options.link, "--link"));
}

}  // namespace sluice
