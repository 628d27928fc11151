// A machine that there needn't be: its rates, by its profiles.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "cli/hardware_options.h"
#include "cli/hardware_profiles.h"
#include "memory/link.h"
#include "offload/hardware.h"

namespace sluice {

struct PlannedHardware {
  GpuProfile gpu;
  HostProfile host;
  LinkSpeed link;  // both ways
  std::string link_name;
  DiskProfile disk;

  Hardware rates(Precision precision) const;
  std::size_t memory_bytes() const { return static_cast<std::size_t>(gpu.memory_bytes); }
  // Of the host's memory, what weights may have: the system keeps some.
  std::size_t host_bytes() const { return static_cast<std::size_t>(0.9 * host.memory_bytes); }
  std::size_t context_bytes() const { return static_cast<std::size_t>(gpu.context_bytes); }
  std::string describe() const;  // one line
};

// `link` is a rate that was given. Throws Error{kUsage} for a name that there isn't,
// Error{kBadFile} for profiles that can't be read.
PlannedHardware find_hardware(const HardwareOptions& options, std::optional<LinkSpeed> link);
LinkSpeed find_link(const HardwareOptions& options);

// Of a processor beside a link that carries `link_bytes_per_second` of its memory.
ComputeRates host_rates(const HostProfile& host, Precision precision, double link_bytes_per_second);

}  // namespace sluice
