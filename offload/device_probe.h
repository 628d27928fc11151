// A device's rates, measured by the operations that its passes are made of.
#pragma once

#include <array>
#include <cstddef>
#include <functional>

#include "layers/ops.h"
#include "memory/device.h"
#include "memory/dtype.h"
#include "memory/units.h"
#include "offload/hardware.h"

namespace sluice {

// All of a device's memory that measuring takes: matrices of a usual model, and more of them than
// its caches hold.
inline constexpr std::size_t kDeviceProbeBytes = 512_MiB;

struct DeviceRates {
  std::array<ComputeRates, 2> compute{};  // [index_of(precision)]
  double turn_seconds = 0.0;              // for a host that waits until work is done to give more
};

// Some seconds of layers of a usual shape, with every type of weights and of caches. A device as
// slow as one that is emulated is given small ones, and each only as often as it must. Works in
// `memory`, which has kDeviceProbeBytes. `on_done` is called after each type at each precision.
DeviceRates measure_device(Device& device, Ops& ops, std::byte* memory,
                           const std::function<void()>& on_done);
inline constexpr std::size_t kDeviceSteps = 2 * kDTypeCount;

}  // namespace sluice
