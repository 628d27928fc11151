// What `sluice probe` measured, kept in the user's cache folder for the same machine and version.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "offload/machine_probe.h"

namespace sluice {

// What rates belong to.
struct MachineKey {
  std::string processor;
  std::size_t cores = 0;  // that this process may use
  std::size_t memory_bytes = 0;
  std::string gpu;  // empty: none
  std::string version;

  bool operator==(const MachineKey&) const = default;
};

MachineKey this_machine(const std::string& gpu);

struct MachineProbe {
  MachineKey machine;
  std::int64_t taken_at = 0;  // seconds since 1970
  double seconds = 0.0;
  // The larger of: others' share of the processors meanwhile, and how far the speed at the end was
  // from that at the start.
  double others_share = 0.0;
  double drift = 0.0;
  bool under_load() const { return others_share > 0.1 || drift > 0.15; }
  std::size_t free_device_bytes = 0;  // 0: no GPU
  std::size_t free_host_bytes = 0;
  std::size_t free_disk_bytes = 0;
  MachineRatesTable rates;
};

// In cache_folder(), another one for every machine and version.
std::filesystem::path cache_path(const MachineKey& machine);

std::string probe_json(const MachineProbe& probe);
// Throws Error{kBadFile} for anything but what probe_json writes: the text is untrusted.
MachineProbe parse_probe(std::string_view json);

// The cached probe of this machine. None if there isn't one; if it can't be used, `why` says so.
std::optional<MachineProbe> read_cached(const MachineKey& machine, std::string& why);
// Throws Error{kIo} naming the folder.
void write_cached(const MachineProbe& probe);

}  // namespace sluice
