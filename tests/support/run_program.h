// Runs the built program as a user would.
#pragma once

#include <string>
#include <vector>

namespace sluice::testing {

struct ProgramResult {
  int exit_code = -1;  // -1: ended by a signal
  std::string out;
  std::string err;
};

struct RunOptions {
  std::string input{};         // on standard input
  double interrupt_after = 0;  // seconds until SIGINT; 0: none
  std::string out_path{};      // standard output goes there
};

// sluice `arguments`. Ended after 60 seconds.
ProgramResult run_sluice(const std::vector<std::string>& arguments, const RunOptions& options = {});

}  // namespace sluice::testing
