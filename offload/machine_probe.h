// What a machine can do, for any model: the tables of `sluice probe`.
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "memory/device.h"
#include "offload/device_probe.h"
#include "offload/hardware.h"

namespace sluice {

struct LinkSample {
  std::size_t bytes = 0;  // of a copy
  bool pinned = true;
  double to_device_bytes_per_second = 0.0;
  double to_host_bytes_per_second = 0.0;
};

struct ThreadSample {
  std::size_t threads = 0;  // or reads at once
  double bytes_per_second = 0.0;
};

struct MachineRatesTable {
  std::vector<LinkSample> link;
  double link_latency_seconds = 0.0;  // of a copy of one byte
  std::vector<ThreadSample> host_read;
  std::vector<ThreadSample> disk;
  bool disk_direct = false;            // past the system's cache
  std::optional<DeviceRates> gpu;      // none: there is none, or too little of its memory free
  std::array<ComputeRates, 2> host{};  // [index_of(precision)]
  double copy_bytes_per_second = 0.0;  // of weights, beside computing
  double pass_seconds = 0.0;
  double wait_seconds = 0.0;
  double logit_seconds = 0.0;
};

// Copies of 64 KiB to kLinkBytes, one at a time, and one of a byte, from and to `there`, as many
// bytes on the device.
inline constexpr std::size_t kLinkBytes = std::size_t{64} << 20;
void measure_link(Device& device, bool pinned, std::byte* there, MachineRatesTable& table);

// Reading memory that no cache holds by 1, 2, 4 ... `most_threads` threads.
std::vector<ThreadSample> measure_host_read(std::size_t most_threads);

// Of a layer of a usual shape, for every type of weights. `on_done` is called after each.
void measure_host_compute(MachineRatesTable& table, const std::function<void()>& on_done);
inline constexpr std::size_t kComputeSteps = 2 * kDTypeCount;

// Sequential reads of a file, 1 to 16 at once. Throws Error{kIo} if it can't be read.
void measure_disk(const std::filesystem::path& file, MachineRatesTable& table);

// Reading memory and computing: what else runs shows as different answers at different times.
double sample_speed();

// For plans of a model: none if a type of its weights wasn't measured. A link without a speed takes
// that of the table's pinned copies.
std::optional<Hardware> hardware_of(const MachineRatesTable& table, const ModelLayout& model,
                                    Precision precision, LinkSpeed link);
// The same with a GPU in the place of the CPU, which stays beside it.
Hardware with_gpu(const DeviceRates& gpu, Precision precision, Hardware hardware);

}  // namespace sluice
