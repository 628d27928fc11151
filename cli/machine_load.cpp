#include "cli/machine_load.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "memory/clock.h"
#include "memory/units.h"

namespace sluice {
namespace {

// Of all processors since the system's start: all but idling and waiting for disks.
double busy_seconds() {
  std::ifstream in("/proc/stat");
  std::string name;
  double user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, soft = 0, steal = 0;
  in >> name >> user >> nice >> system >> idle >> wait >> irq >> soft >> steal;
  if (!in || name != "cpu") return 0.0;
  return (user + nice + system + irq + soft + steal) /
         static_cast<double>(std::max(1L, sysconf(_SC_CLK_TCK)));
}

}  // namespace

std::optional<std::size_t> available_memory_bytes() {
  std::ifstream in("/proc/meminfo");
  std::string field;
  std::size_t kib = 0;
  for (std::string rest; in >> field >> kib; std::getline(in, rest)) {
    if (field == "MemAvailable:") return kib * 1_KiB;
  }
  return std::nullopt;
}

MachineLoad::MachineLoad()
    : busy_seconds_(busy_seconds()),
      own_seconds_(process_cpu_seconds()),
      begin_seconds_(now_seconds()) {}

double MachineLoad::others_share() const {
  const double others = busy_seconds() - busy_seconds_ - (process_cpu_seconds() - own_seconds_);
  const double all = (now_seconds() - begin_seconds_) *
                     static_cast<double>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
  return all > 0.0 ? std::clamp(others / all, 0.0, 1.0) : 0.0;
}

}  // namespace sluice
