#include "cli/hardware_profiles.h"

#include <algorithm>
#include <fstream>
#include <system_error>

#include "cli/format.h"
#include "cli/untrusted_json.h"
#include "cli/user_folders.h"
#include "memory/error.h"
#include "memory/printable.h"
#include "memory/units.h"

namespace sluice {
namespace {

using Unit = FigureUnit;

constexpr Figure<GpuProfile> kGpuFigures[] = {
    {"memory_bytes", &GpuProfile::memory_bytes, Unit::kBytes},
    {"memory_bytes_per_second", &GpuProfile::memory_bytes_per_second, Unit::kBytesPerSecond},
    {"tensor_operations_per_second", &GpuProfile::tensor_operations_per_second,
     Unit::kOperationsPerSecond},
    {"f32_operations_per_second", &GpuProfile::f32_operations_per_second,
     Unit::kOperationsPerSecond},
    {"context_bytes", &GpuProfile::context_bytes, Unit::kBytes},
};
constexpr Figure<HostProfile> kHostFigures[] = {
    {"memory_bytes", &HostProfile::memory_bytes, Unit::kBytes},
    {"memory_bytes_per_second", &HostProfile::memory_bytes_per_second, Unit::kBytesPerSecond},
    {"memory_share", &HostProfile::memory_share, Unit::kShare},
    {"int8_operations_per_second", &HostProfile::int8_operations_per_second,
     Unit::kOperationsPerSecond},
    {"bf16_operations_per_second", &HostProfile::bf16_operations_per_second,
     Unit::kOperationsPerSecond},
    {"f32_operations_per_second", &HostProfile::f32_operations_per_second,
     Unit::kOperationsPerSecond},
};
constexpr Figure<LinkProfile> kLinkFigures[] = {
    {"bytes_per_second", &LinkProfile::bytes_per_second, Unit::kBytesPerSecond},
    {"pinned_bytes_per_second", &LinkProfile::pinned_bytes_per_second, Unit::kBytesPerSecond},
    {"latency_seconds", &LinkProfile::latency_seconds, Unit::kSeconds},
};
constexpr Figure<DiskProfile> kDiskFigures[] = {
    {"read_bytes_per_second", &DiskProfile::read_bytes_per_second, Unit::kBytesPerSecond},
    {"latency_seconds", &DiskProfile::latency_seconds, Unit::kSeconds},
};

template <typename Profile>
const Profile* find(const std::vector<Profile>& all, std::string_view name) {
  const auto found = std::ranges::find(all, name, &Profile::name);
  return found == all.end() ? nullptr : &*found;
}

template <typename Profile>
std::string names_of(const std::vector<Profile>& all) {
  std::string names;
  for (const Profile& p : all) names += (names.empty() ? "" : ", ") + p.name;
  return names;
}

template <typename Profile>
const Profile& require_profile(const std::vector<Profile>& all, std::string_view name,
                               std::string_view option, const char* one) {
  if (const Profile* found = find(all, name)) return *found;
  throw Error(ErrorKind::kUsage, text(option, " ", printable(name, kShownChars), ": no ", one,
                                      " is named so; there are ", names_of(all)));
}

}  // namespace

std::span<const Figure<GpuProfile>> figures(const GpuProfile&) {
  return kGpuFigures;
}
std::span<const Figure<HostProfile>> figures(const HostProfile&) {
  return kHostFigures;
}
std::span<const Figure<LinkProfile>> figures(const LinkProfile&) {
  return kLinkFigures;
}
std::span<const Figure<DiskProfile>> figures(const DiskProfile&) {
  return kDiskFigures;
}

std::string print_figure(double value, FigureUnit unit) {
  switch (unit) {
    case Unit::kBytes:
      return print_bytes(static_cast<std::uint64_t>(value));
    case Unit::kBytesPerSecond:
      return print_rate(value);
    case Unit::kOperationsPerSecond:
      return value < 1e12 ? format("%.1f G/s", value / 1e9) : format("%.1f T/s", value / 1e12);
    case Unit::kSeconds:
      return format("%.0f us", value * 1e6);
    case Unit::kShare:
      return format("%.0f %%", value * 100.0);
  }
  return {};
}

void HardwareProfiles::add_file(const std::filesystem::path& path) {
  const std::string name = printable_path(path);
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    throw Error(ErrorKind::kIo, text(name, ": a folder; a file of hardware profiles is needed"));
  }
  std::ifstream in(path, std::ios::binary);
  std::string content(kMostFileBytes + 1, '\0');
  if (in) in.read(content.data(), static_cast<std::streamsize>(content.size()));
  if (in.gcount() == 0 && !in.eof()) {
    throw Error(ErrorKind::kIo, text(name, ": the file of hardware profiles can't be read"));
  }
  content.resize(static_cast<std::size_t>(in.gcount()));
  add(content, name);
}

void HardwareProfiles::check_links() const {
  for (const GpuProfile& gpu : gpus) {
    if (find(links, gpu.link) != nullptr) continue;
    throw Error(ErrorKind::kBadFile, text(gpu.file, ": gpu ", gpu.name, " has link ", gpu.link,
                                          "; there are ", names_of(links)));
  }
}

const GpuProfile& HardwareProfiles::gpu(std::string_view name, std::string_view option) const {
  return require_profile(gpus, name, option, "GPU");
}
const HostProfile& HardwareProfiles::host(std::string_view name, std::string_view option) const {
  return require_profile(hosts, name, option, "host");
}
const LinkProfile& HardwareProfiles::link(std::string_view name, std::string_view option) const {
  return require_profile(links, name, option, "link");
}

const DiskProfile& HardwareProfiles::disk(std::string_view name, std::string_view option) const {
  return require_profile(disks, name, option, "disk");
}

HardwareProfiles known_hardware(const std::vector<std::string>& files) {
  HardwareProfiles all;
  for (const EmbeddedProfiles& embedded : embedded_profiles()) {
    all.add(embedded.json, std::string(embedded.file));
  }
  std::vector<std::filesystem::path> paths;
  std::error_code missing;
  std::filesystem::path folder = config_folder();
  if (!folder.empty()) folder /= "hardware";
  for (const auto& entry : std::filesystem::directory_iterator(folder, missing)) {
    if (entry.path().extension() == ".json") paths.push_back(entry.path());
  }
  std::ranges::sort(paths);
  paths.insert(paths.end(), files.begin(), files.end());
  for (const std::filesystem::path& path : paths) all.add_file(path);
  all.check_links();
  return all;
}

}  // namespace sluice
