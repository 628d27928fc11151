// What `sluice_emulated` adds to `sluice`: a program that has used CUDA wrongly says how as it ends,
// and ends with code 99.
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "tests/cuda/emulation.h"
#include "tests/cuda/runtime.h"

namespace {

using namespace sluice;

void report() {
  bool wrong = false;
  const auto show = [&](const char* of, const std::vector<std::string>& lines) {
    for (const std::string& line : lines) std::cerr << "sluice_emulated: " << of << line << '\n';
    wrong = wrong || !lines.empty();
  };
  show("streams: ", fake_cuda::complaints_at_exit());
  show("kernels: ", emulation::violations());
  if (!wrong) return;
  std::cerr << std::flush;
  std::cout << std::flush;
  _exit(99);
}

// What is asked must have been made before this is registered: it goes in the opposite order.
const bool registered = [] {
  fake_cuda::reset();
  emulation::clear_violations();
  return std::atexit(report) == 0;
}();

}  // namespace
