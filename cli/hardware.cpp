#include <iostream>

#include "cli/commands.h"
#include "cli/format.h"
#include "cli/hardware_profiles.h"
#include "memory/error.h"
#include "memory/printable.h"

namespace sluice {
namespace {

constexpr std::size_t kTitleChars = 80;
constexpr std::size_t kSourceChars = 400;

std::string cell(double value, FigureUnit unit) {
  return format("%11s", print_figure(value, unit).c_str());
}

// A row a profile, a column a figure, in the order of the files' fields.
template <typename Profile>
void print_table(const char* heading, const std::vector<Profile>& all) {
  std::cout << heading << '\n';
  for (const Profile& profile : all) {
    std::cout << format("  %-16s", profile.name.c_str());
    for (const auto& figure : figures(profile)) {
      std::cout << cell(profile.*figure.value, figure.unit);
    }
    if constexpr (std::is_same_v<Profile, GpuProfile>) std::cout << "  " << profile.link;
    std::cout << "  " << printable(profile.title, kTitleChars) << '\n';
  }
}

void print_source(const HardwareProfile& profile, std::string_view key) {
  const auto source = profile.sources.find(key);
  if (source == profile.sources.end()) return;
  std::cout << "      " << printable(source->second, kSourceChars) << '\n';
}

// All of one, with where it comes from. False if it isn't among them.
template <typename Profile>
bool print_one(const std::vector<Profile>& all, const std::string& name) {
  for (const Profile& profile : all) {
    if (profile.name != name) continue;
    std::cout << profile.name << ": " << printable(profile.title, kTitleChars) << ", from "
              << profile.file << '\n';
    for (const auto& figure : figures(profile)) {
      std::cout << "  " << figure.key << " " << text(profile.*figure.value) << " ("
                << print_figure(profile.*figure.value, figure.unit) << ")\n";
      print_source(profile, figure.key);
    }
    if constexpr (std::is_same_v<Profile, GpuProfile>) {
      std::cout << "  link " << profile.link << '\n';
      print_source(profile, "link");
    }
    return true;
  }
  return false;
}

}  // namespace

int hardware_command(const ListHardwareOptions& options) {
  const HardwareProfiles all = known_hardware(options.files);
  if (options.name.empty()) {
    print_table("--gpu                  memory   at a rate of  f16 tensor     f32   context  link",
                all.gpus);
    print_table("--host                 memory   at most    reached       int8       bf16      f32",
                all.hosts);
    print_table("--link                at most     pinned    latency", all.links);
    print_table("disks                 reading    latency", all.disks);
    return 0;
  }
  const bool found = print_one(all.gpus, options.name) || print_one(all.hosts, options.name) ||
                     print_one(all.links, options.name) || print_one(all.disks, options.name);
  if (!found) {
    throw Error(ErrorKind::kUsage, text("no hardware is named ", printable(options.name),
                                        "; sluice hardware lists what there is"));
  }
  return 0;
}

}  // namespace sluice
