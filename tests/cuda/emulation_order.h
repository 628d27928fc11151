// In which order the threads of a block go on where they may.
#pragma once

#include <cstdint>

namespace sluice::emulation {

// Forward and reverse: by index at the start and after each barrier. Random: anyone who may.
enum class Order { kForward, kReverse, kRandom };

}  // namespace sluice::emulation
