// Rates of a machine, as the cost model takes them, and a quick probe of this one.
#pragma once

#include <array>
#include <cstddef>

#include "layers/gpu.h"
#include "layers/weights.h"
#include "memory/dtype.h"
#include "memory/link.h"

namespace sluice {

// How fast weights of one type are multiplied: a product takes the longer of reading its weights
// and computing with them.
struct ProductRate {
  double bytes_per_second = 0.0;
  double operations_per_second = 0.0;  // a multiplication and an addition are two
};

// Of one place that computes.
struct ComputeRates {
  std::array<ProductRate, kDTypeCount> products{};
  double attention_operations_per_second = 0.0;
  double element_seconds = 0.0;  // of the work beside products, for one value of one activation
  double step_seconds = 0.0;     // to hand over one operation
};

// The device's own rates, its link's, and the host's beside it.
struct Hardware : ComputeRates {
  LinkSpeed to_device;
  LinkSpeed to_host;
  ComputeRates host;
};

// Measures what `model` needs of this machine's CPU in about 20 ms, on synthetic weights. A link
// without a speed is measured as a memory copy.
Hardware probe_host(const ModelLayout& model, Precision precision, LinkSpeed link);

// Of a GPU, by what its clocks and widths would allow and what kernels usually get of that, beside
// the `host` that was probed.
Hardware gpu_hardware(const GpuRates& rates, Precision precision, const ComputeRates& host);

}  // namespace sluice
