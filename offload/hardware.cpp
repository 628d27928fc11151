#include "offload/hardware.h"

#include <algorithm>

#include "layers/scratch.h"

namespace sluice {

ProductRate ProductRate::roofline(DType type, double bytes_per_second,
                                  double operations_per_second) {
  const DTypeInfo& info = dtype_info(type);
  const double values_per_byte =
      static_cast<double>(info.group_values) / static_cast<double>(info.group_bytes);
  ProductRate rate;
  for (std::size_t i = 0; i < kTokens.size(); ++i) {
    const double operations = 2.0 * values_per_byte * static_cast<double>(kTokens[i]);
    rate.seconds_per_byte[i] = std::max(1.0 / bytes_per_second, operations / operations_per_second);
  }
  return rate;
}

double ProductRate::at(const Table& table, std::size_t tokens) {
  if (tokens <= 1) return table.front();
  if (tokens >= kTokens.back()) {
    return table.back() * static_cast<double>(tokens) / static_cast<double>(kTokens.back());
  }
  const auto above = std::ranges::lower_bound(kTokens, tokens);
  const auto i = static_cast<std::size_t>(above - kTokens.begin());
  const double part = static_cast<double>(tokens - kTokens[i - 1]) /
                      static_cast<double>(kTokens[i] - kTokens[i - 1]);
  return table[i - 1] + part * (table[i] - table[i - 1]);
}

ProductRate::Table ProductRate::in_proportion(double seconds) {
  Table table;
  for (std::size_t i = 0; i < table.size(); ++i)
    table[i] = seconds * static_cast<double>(kTokens[i]);
  return table;
}

Hardware gpu_hardware(const GpuRates& rates, Precision precision, const ComputeRates& host) {
  constexpr double kOfMemory = 0.8;
  constexpr double kOfTensorCores = 0.5;  // weights have to be decoded for them
  constexpr double kOfF32 = 0.35;
  constexpr double kStepSeconds = 3e-6;
  constexpr double kTurnSeconds = 10e-6;    // the GPU waits for the host, and the host for it
  constexpr double kTripsPerElement = 3.0;  // read twice, written once
  Hardware hardware;
  const double f32 = kOfF32 * rates.f32_operations_per_second;
  const double tensor = kOfTensorCores * rates.tensor_operations_per_second;
  for (std::size_t i = 0; i < kDTypeCount; ++i) {
    const bool wide = tile_type(kAllDTypes[i], precision) == TileType::kF32;
    hardware.device.products[i] = ProductRate::roofline(
        kAllDTypes[i], kOfMemory * rates.memory_bytes_per_second, wide ? f32 : tensor);
  }
  hardware.device.attention_operations_per_second = f32;
  hardware.device.attention_one_token_operations_per_second = f32;
  hardware.device.cache_bytes_per_second = kOfMemory * rates.memory_bytes_per_second;
  hardware.device.element_seconds =
      ProductRate::in_proportion(kTripsPerElement * sizeof(float) / rates.memory_bytes_per_second);
  hardware.device.step_seconds = kStepSeconds;
  hardware.turn_seconds = kTurnSeconds;
  hardware.device_from = RatesFrom::kClocks;
  hardware.to_device = rates.to_device;
  hardware.to_host = rates.to_host;
  hardware.host = host;
  return hardware;
}

}  // namespace sluice
