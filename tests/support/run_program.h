// Runs the built program as a user would.
#pragma once

#include <cstddef>
#include <functional>
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
  std::string input{};        // on standard input
  std::string out_path{};     // standard output goes there
  bool watch_memory = false;  // sample its resident set's peak
  // SIGINT is sent once this is true of what it has written to standard output so far.
  std::function<bool(const std::string& out)> interrupt_when{};
};

// sluice `arguments`. Ended after 60 seconds.
ProgramResult run_sluice(const std::vector<std::string>& arguments, const RunOptions& options = {});

// Checks that it ends with `code` after one line on standard error, which has `part` in it, and
// nothing on standard output.
void check_refusal(const std::vector<std::string>& arguments, int code, const std::string& part);

}  // namespace sluice::testing
