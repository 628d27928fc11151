#include "cli/hardware_options.h"

#include <CLI/CLI.hpp>
#include <charconv>

#include "memory/error.h"
#include "memory/printable.h"

namespace sluice {

bool is_profile_name(std::string_view value) {
  return !value.empty() && ((value.front() >= 'a' && value.front() <= 'z') ||
                            (value.front() >= 'A' && value.front() <= 'Z'));
}

void parse_gpu(const std::string& value, int& index, HardwareOptions& hardware) {
  if (is_profile_name(value)) {
    hardware.gpu = value;
    return;
  }
  const char* end = value.data() + value.size();
  const auto [at, error] = std::from_chars(value.data(), end, index);
  if (error != std::errc{} || at != end || index < 0) {
    throw Error(ErrorKind::kUsage, text("--gpu ", printable(value),
                                        ": it is an index counted from 0 or, to plan for, a name "
                                        "that sluice hardware lists"));
  }
}

void add_hardware_files(CLI::App& app, std::vector<std::string>& files) {
  app.add_option("--hardware", files,
                 "A file with more hardware profiles (docs/hardware/README.md), beside those in\n"
                 "~/.config/sluice/hardware")
      ->type_name("FILE");
}

void add_hardware(CLI::App& app, HardwareOptions& options) {
  app.add_option("--host", options.host,
                 "The processor and memory beside a --gpu that is a name: a name that\n"
                 "sluice hardware lists (default: " +
                     std::string(kDefaultHost) + ")")
      ->type_name("NAME");
  app.add_option(
         "--disk", options.disk,
         "Where weights wait that the host's memory, or --ram, has no room for: a name that\n"
         "sluice hardware lists (default: " +
             std::string(kDefaultDisk) + ")")
      ->type_name("NAME");
  add_hardware_files(app, options.files);
}

void refuse_profiles(const HardwareOptions& options) {
  if (!options.gpu.empty()) {
    throw Error(ErrorKind::kUsage,
                text("--gpu ", printable(options.gpu),
                     ": names are of profiles, which are for sluice plan; here it is an index"));
  }
  if (!options.link.empty()) {
    throw Error(ErrorKind::kUsage,
                text("--link ", printable(options.link),
                     ": names are of profiles, which are for sluice plan; say for example 16GB/s"));
  }
}

void check_hardware(const HardwareOptions& options) {
  if (!options.gpu.empty()) return;
  const auto refuse_without_gpu = [](const char* option, const std::string& name) {
    if (name.empty()) return;
    throw Error(ErrorKind::kUsage, text(option, " ", printable(name),
                                        " is what stands beside a --gpu that is a name, such as "
                                        "rtx-4090; give that too"));
  };
  refuse_without_gpu("--host", options.host);
  refuse_without_gpu("--disk", options.disk);
}

}  // namespace sluice
