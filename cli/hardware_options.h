// Hardware by name on the command line: --gpu, --host, --link, --disk and --hardware.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

namespace sluice {

inline constexpr std::string_view kDefaultHost = "ddr5-5600-2ch";
inline constexpr std::string_view kDefaultDisk = "nvme-gen4";

// Names of profiles; looked up when the plan is made.
struct HardwareOptions {
  std::string gpu;   // empty: this machine is planned for
  std::string host;  // empty: kDefaultHost
  std::string link;  // empty: a rate was given, or the GPU's own
  std::string disk;  // empty: kDefaultDisk
  std::vector<std::string> files{};
};

// Rates and indices begin with a digit, names with a letter.
bool is_profile_name(std::string_view value);
// "0", "rtx-4090". Throws Error{kUsage} for what is neither.
void parse_gpu(const std::string& value, int& index, HardwareOptions& hardware);

// --hardware, for which names are there; and --host beside it.
void add_hardware_files(CLI::App& app, std::vector<std::string>& files);
void add_hardware(CLI::App& app, HardwareOptions& options);

// Throw Error{kUsage}: for a name where something is run, and for a host or a disk with no GPU
// beside it.
void refuse_profiles(const HardwareOptions& options);
void check_hardware(const HardwareOptions& options);

}  // namespace sluice
