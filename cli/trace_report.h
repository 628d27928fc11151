// What ran when beside what was predicted, as a file for Perfetto.
#pragma once

#include <string>

#include "cli/lanes.h"

namespace sluice {

// Chrome's trace event format: a process for what was measured, one for what was predicted, a
// thread for each lane of each.
std::string print_trace(const PassPredictor& predictor, const Trace& trace);

}  // namespace sluice
