// Models that are shapes alone, and machines, drawn at random: what plans are made for.
#pragma once

#include <cmath>
#include <random>

#include "cli/memory_model.h"
#include "tests/support/engine_fixture.h"

namespace sluice {

// A model's header, opened as a file is; its weights aren't there.
struct ShapeModel {
  ShapeModel(const ModelShape& shape, const char* weights)
      : memory(SyntheticModel(shape, parse_weights(weights), 1), MemoryModel::HeaderOnly{}),
        model(memory.path()) {}
  MemoryModel memory;
  TestModel model;
};

inline ModelShape random_shape(std::mt19937& random, std::size_t layers) {
  const std::size_t width = 256 * (1 + random() % 3);
  return {"random", layers, width, width * (1 + random() % 4), 4, 2, 256 * (2 + random() % 8),
          2048,     1e4f,   false};
}

inline double log_uniform(std::mt19937& random, double from, double to) {
  return from * std::pow(to / from, std::uniform_real_distribution<double>(0.0, 1.0)(random));
}

inline Hardware random_hardware(std::mt19937& random) {
  Hardware hardware = test_hardware();
  const double host_bytes = log_uniform(random, 2e9, 80e9);
  const double device_bytes = log_uniform(random, 10e9, 1000e9);
  for (const DType type : kAllDTypes) {
    const auto i = static_cast<std::size_t>(type);
    hardware.host.products[i] = ProductRate::roofline(type, host_bytes, 20 * host_bytes);
    hardware.device.products[i] = ProductRate::roofline(type, device_bytes, 50 * device_bytes);
  }
  hardware.to_device = {.bytes_per_second = log_uniform(random, 0.5e9, 50e9),
                        .latency_seconds = log_uniform(random, 1e-7, 1e-5)};
  hardware.to_host = hardware.to_device;
  hardware.host.share_beside_copies = random() % 2 == 0 ? 1.0 : 0.7;
  hardware.turn_seconds = log_uniform(random, 1e-6, 1e-5);
  hardware.device.step_seconds = hardware.host.step_seconds = 1e-6;
  return hardware;
}

}  // namespace sluice
