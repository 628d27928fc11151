// The GPU: its device and operations, in builds and on machines that have one.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "layers/ops.h"
#include "memory/device.h"
#include "memory/link.h"

namespace sluice {

// What a GPU can do at most, and its link as it was measured.
struct GpuRates {
  double memory_bytes_per_second;
  double tensor_operations_per_second;  // halves, summed in f32; an addition is one too
  double f32_operations_per_second;
  LinkSpeed to_device;
  LinkSpeed to_host;
};

// Owns the driver's context. Its device and operations live as long as it does.
class Gpu {
 public:
  virtual ~Gpu() = default;
  virtual const std::string& model() const = 0;  // "NVIDIA GeForce RTX 4090"
  virtual Device& device() = 0;
  virtual Ops& ops() = 0;
  // Of the whole GPU, to be reserved.
  virtual std::size_t free_bytes() const = 0;
  // What the driver holds for this process beside what is reserved.
  virtual std::size_t overhead_bytes() const = 0;
  // By its clocks and widths, but for the link.
  virtual GpuRates measure_rates() = 0;
  // By running it for some tenths of a second. Takes up to `most_bytes` of its memory, which is
  // free again afterwards.
  virtual GpuRates measure_peaks(std::size_t most_bytes) = 0;
  // From here on spans and stamps are filled in.
  virtual void time_spans() = 0;
};

// Whether this build can have one.
bool built_with_gpu();

// Throws Error{kDevice}, in one line that says what is missing, or Error{kUsage} for an index that
// there isn't or a build without CUDA.
std::unique_ptr<Gpu> open_gpu(int index);

}  // namespace sluice
