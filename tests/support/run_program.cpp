#include "tests/support/run_program.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "tests/support/read_file.h"
#include "tests/support/temporary_folder.h"

namespace sluice::testing {
namespace {

void redirect(int to, const std::string& path, int flags) {
  const int file = open(path.c_str(), flags, 0600);
  if (file < 0 || dup2(file, to) < 0) _exit(126);
}

// Of a process so far, as the system keeps it; 0 when it has ended.
std::size_t resident_peak_bytes(pid_t process) {
  std::ifstream status("/proc/" + std::to_string(process) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoul(line.substr(6)) * 1024;
  }
  return 0;
}

}  // namespace

ProgramResult run_sluice(const std::vector<std::string>& arguments, const RunOptions& options) {
  const TemporaryFolder folder;
  const std::string in = folder.path() / "in";
  const std::string out = options.out_path.empty() ? std::string(folder / "out") : options.out_path;
  const std::string err = folder.path() / "err";
  std::ofstream(in, std::ios::binary) << options.input;
  std::vector<std::string> words = {SLUICE_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  const pid_t child = fork();
  if (child == 0) {
    redirect(STDIN_FILENO, in, O_RDONLY);
    redirect(STDOUT_FILENO, out, O_WRONLY | O_CREAT | O_TRUNC);
    redirect(STDERR_FILENO, err, O_WRONLY | O_CREAT | O_TRUNC);
    setenv("CUDA_VISIBLE_DEVICES", "", 1);  // what the CPU answers is what is tested
    alarm(60);
    execv(argv[0], argv.data());
    _exit(127);
  }
  int status = 0;
  std::size_t peak_bytes = 0;
  bool interrupt = options.interrupt_when != nullptr;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (options.watch_memory) peak_bytes = std::max(peak_bytes, resident_peak_bytes(child));
    if (interrupt && options.interrupt_when(read_file(out))) {
      kill(child, SIGINT);
      interrupt = false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1,
          options.out_path.empty() ? read_file(out) : std::string(), read_file(err), peak_bytes};
}

void check_refusal(const std::vector<std::string>& arguments, int code, const std::string& part) {
  const ProgramResult result = run_sluice(arguments);
  CAPTURE(arguments);
  CAPTURE(result.err);
  CHECK(result.exit_code == code);
  CHECK(result.err.find(part) != std::string::npos);
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  CHECK(result.out.empty());
}

}  // namespace sluice::testing
