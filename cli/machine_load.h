// What others leave of a machine: its time, which a measurement has to be told beside, and memory.
#pragma once

#include <cstddef>
#include <optional>

namespace sluice {

// From its construction on.
class MachineLoad {
 public:
  MachineLoad();
  // Of all processors' time since then, the share that other processes took; none if the system
  // doesn't say.
  double others_share() const;

 private:
  double busy_seconds_;
  double own_seconds_;
  double begin_seconds_;
};

// None if the system doesn't say.
std::optional<std::size_t> available_memory_bytes();

}  // namespace sluice
