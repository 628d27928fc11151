// What a GPU does at most, measured by letting it do just that.
#pragma once

#include <cstddef>

#include "layers/gpu.h"
#include "memory/cuda/device_cuda.h"

namespace sluice {

// Takes up to `most_bytes` of the GPU's memory and gives them back; what the driver keeps for the
// code that ran counts to the device's overhead. Throws Error{kDevice}.
GpuRates measure_peaks(DeviceCuda& device, std::size_t most_bytes);

}  // namespace sluice
