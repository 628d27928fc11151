// Named hardware: what plans are made for where there is no machine to measure.
//
// docs/hardware has the profiles that are part of the program, and their format.
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// What all kinds have.
struct HardwareProfile {
  std::string name;                                           // "rtx-4090"
  std::string title;                                          // "NVIDIA GeForce RTX 4090"
  std::string file;                                           // that it was read from
  std::map<std::string, std::string, std::less<>> sources{};  // of figures, by their names
};

struct GpuProfile : HardwareProfile {
  double memory_bytes = 0.0;
  double memory_bytes_per_second = 0.0;
  double tensor_operations_per_second = 0.0;  // halves, summed in f32; an addition is one too
  double f32_operations_per_second = 0.0;
  double context_bytes = 0.0;  // of the memory, what the driver keeps for a process
  std::string link;            // the name of the widest that it has
};

// A processor and its memory.
struct HostProfile : HardwareProfile {
  double memory_bytes = 0.0;
  double memory_bytes_per_second = 0.0;  // that the channels carry at most
  double memory_share = 0.0;             // of that, what reading reaches
  double int8_operations_per_second = 0.0;
  double bf16_operations_per_second = 0.0;
  double f32_operations_per_second = 0.0;
};

struct LinkProfile : HardwareProfile {
  double bytes_per_second = 0.0;         // one direction, at most
  double pinned_bytes_per_second = 0.0;  // that copies from pinned memory reach
  double latency_seconds = 0.0;
};

struct DiskProfile : HardwareProfile {
  double read_bytes_per_second = 0.0;  // of large blocks, one after the other
  double latency_seconds = 0.0;
};

enum class FigureUnit { kBytes, kBytesPerSecond, kOperationsPerSecond, kSeconds, kShare };

// One figure of a kind of hardware, as files name it.
template <typename Profile>
struct Figure {
  std::string_view key;
  double Profile::*value;
  FigureUnit unit;
};

std::span<const Figure<GpuProfile>> figures(const GpuProfile&);
std::span<const Figure<HostProfile>> figures(const HostProfile&);
std::span<const Figure<LinkProfile>> figures(const LinkProfile&);
std::span<const Figure<DiskProfile>> figures(const DiskProfile&);
// "24.0 GiB", "1.01 TB/s", "165.2 T/s", "10 us", "80 %".
std::string print_figure(double value, FigureUnit unit);

// All that are known, in the order that they were read in.
class HardwareProfiles {
 public:
  static constexpr std::size_t kMostFileBytes = std::size_t{1} << 20;

  // Reads `json` (cli/hardware_json.cpp). Throws Error{kBadFile} naming `file`, the entry, the
  // field, the value and what would be accepted; nothing is kept of such a file.
  void add(std::string_view json, const std::string& file);
  // Throws also Error{kIo}.
  void add_file(const std::filesystem::path& path);
  // Throws Error{kBadFile} for a GPU whose link isn't known.
  void check_links() const;

  // Throw Error{kUsage} naming `option` and all that there are.
  const GpuProfile& gpu(std::string_view name, std::string_view option) const;
  const HostProfile& host(std::string_view name, std::string_view option) const;
  const LinkProfile& link(std::string_view name, std::string_view option) const;
  const DiskProfile& disk(std::string_view name, std::string_view option) const;

  std::vector<GpuProfile> gpus;
  std::vector<HostProfile> hosts;
  std::vector<LinkProfile> links;
  std::vector<DiskProfile> disks;
};

struct EmbeddedProfiles {
  std::string_view file;
  std::string_view json;
};
// docs/hardware/*.json, as they were when the program was built.
std::span<const EmbeddedProfiles> embedded_profiles();

// The embedded ones, those in hardware/ of the user's config_folder() and those in `files`,
// checked.
HardwareProfiles known_hardware(const std::vector<std::string>& files);

}  // namespace sluice
