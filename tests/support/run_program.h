// Runs the built program as a user would.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace sluice::testing {

struct ProgramResult {
  int exit_code = -1;  // -1: ended by a signal
  std::string out;
  std::string err;
  std::size_t peak_resident_bytes = 0;  // with watch_memory
};

struct RunOptions {
  std::string input{};         // on standard input
  double interrupt_after = 0;  // seconds until SIGINT; 0: none
  std::string out_path{};      // standard output goes there
  bool watch_memory = false;   // sample its resident set's peak
};

// sluice `arguments`. Ended after 60 seconds.
ProgramResult run_sluice(const std::vector<std::string>& arguments, const RunOptions& options = {});

}  // namespace sluice::testing
