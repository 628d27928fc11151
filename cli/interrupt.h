// Ctrl-C ends a command in order.
#pragma once

#include <atomic>

namespace sluice {

// Set by the first Ctrl-C from here on; a second one ends the process.
const std::atomic<bool>& interrupt_on_ctrl_c();

}  // namespace sluice
