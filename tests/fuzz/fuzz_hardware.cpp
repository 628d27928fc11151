// Any bytes, read as hardware profiles: an Error of one line, or figures that a plan can be made
// of.
//
//   build/fuzz/fuzz_hardware -max_len=4096 CORPUS tests/fuzz/seeds/hardware
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "cli/hardware_profiles.h"
#include "memory/error.h"

namespace sluice {

namespace {

void demand(bool promise) {
  if (!promise) std::abort();
}

template <typename Profile>
void check(const std::vector<Profile>& all) {
  for (const Profile& profile : all) {
    demand(!profile.name.empty() && profile.name.size() <= 40);
    for (const auto& figure : figures(profile)) {
      const double value = profile.*figure.value;
      demand(std::isfinite(value) && value >= 0.0 && value <= 1e18);
      demand(value > 0.0 || figure.unit == FigureUnit::kSeconds);
      demand(!print_figure(value, figure.unit).empty());
    }
  }
}

}  // namespace

}  // namespace sluice

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;
  HardwareProfiles all;
  try {
    all.add({reinterpret_cast<const char*>(data), size}, "FILE");
    all.check_links();
  } catch (const Error& error) {
    demand(error.kind() == ErrorKind::kBadFile);
    const std::string_view message = error.what();
    demand(message.starts_with("FILE: ") && message.find('\n') == std::string_view::npos);
  }
  check(all.gpus);
  check(all.hosts);
  check(all.links);
  check(all.disks);
  return 0;
}
