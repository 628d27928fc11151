#include <initializer_list>
#include <iostream>
#include <type_traits>

#include "cli/commands.h"
#include "cli/format.h"
#include "cli/hardware_profiles.h"
#include "memory/error.h"
#include "memory/printable.h"

namespace sluice {
namespace {

constexpr std::size_t kTitleChars = 80;
constexpr std::size_t kSourceChars = 400;

// A row a profile, a column a figure, in the order in which figures() has them.
template <typename Profile>
void print_table(const char* heading, std::initializer_list<const char*> columns,
                 const std::vector<Profile>& all) {
  std::cout << format("%-18s", heading);
  for (const char* column : columns) std::cout << format("%12s", column);
  std::cout << '\n';
  for (const Profile& profile : all) {
    std::cout << format("  %-16s", profile.name.c_str());
    for (const auto& figure : figures(profile)) {
      std::cout << format("%12s", print_figure(profile.*figure.value, figure.unit).c_str());
    }
    if constexpr (std::is_same_v<Profile, GpuProfile>) {
      std::cout << format("%12s", profile.link.c_str());
    }
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
      std::cout << "  " << figure.key << " " << format("%.15g", profile.*figure.value) << " ("
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
    print_table("--gpu", {"memory", "its rate", "f16 tensor", "f32", "context", "link"}, all.gpus);
    print_table("--host", {"memory", "its rate", "reached", "int8", "bf16", "f32"}, all.hosts);
    print_table("--link", {"rate", "pinned", "latency"}, all.links);
    print_table("disk", {"reading", "latency"}, all.disks);
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
