// How busy a machine is with others' work: what a measurement has to be told beside.
#pragma once

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

}  // namespace sluice
