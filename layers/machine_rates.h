// What this machine can do at most, measured: what the speed of passes is held against.
#pragma once

#include <cstddef>
#include <span>

#include "memory/dtype.h"
#include "memory/host_store.h"

namespace sluice {

// Of all threads that take part in parallel loops. An operation is a multiplication or an addition.
struct MachineRates {
  double read_bytes_per_second = 0.0;  // from memory, fetched ahead
  double copy_bytes_per_second = 0.0;  // bytes copied, each read and written once
  double fp32_per_second = 0.0;        // multiply-adds of the instruction set that products use
  double bf16_per_second = 0.0;        // dot products of pairs; 0: it has none
  double int8_per_second = 0.0;        // integer dot products of the width that products use

  // Of products with weights of this type.
  double operations_per_second(DType type) const;
};

// Measures again and again, a twentieth of a second each time: a shared machine changes.
class MachineMeter {
 public:
  MachineMeter();  // takes memory that no cache holds
  // The best of a few runs each: other work only takes away.
  MachineRates measure();

 private:
  HostStore memory_;
};

// The median of each.
MachineRates median_of(std::span<const MachineRates> rates);

}  // namespace sluice
