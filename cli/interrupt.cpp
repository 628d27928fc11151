#include "cli/interrupt.h"

#include <csignal>

namespace sluice {
namespace {

std::atomic<bool> interrupted{false};

}  // namespace

const std::atomic<bool>& interrupt_on_ctrl_c() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted.store(true); };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  return interrupted;
}

}  // namespace sluice
