// The one clock that schedules, pacing and traces are told by.
#pragma once

#include <chrono>

namespace sluice {

// Seconds on a clock that never goes back; its zero means nothing.
inline double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace sluice
