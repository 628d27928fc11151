// How long this process has been running.
#pragma once

namespace sluice {

// Seconds since the process was started (exec), to a hundredth: what a user waits.
double seconds_since_exec();

}  // namespace sluice
