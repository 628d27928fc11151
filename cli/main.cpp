#include <oneapi/tbb/global_control.h>

#include <cstdio>
#include <exception>
#include <iostream>
#include <new>

#include "cli/commands.h"
#include "memory/error.h"

namespace {

using namespace sluice;

int exit_code(ErrorKind kind) {  // docs/errors.md
  switch (kind) {
    case ErrorKind::kInternal:
      return 1;
    case ErrorKind::kUsage:
      return 2;
    case ErrorKind::kBadFile:
      return 3;
    case ErrorKind::kOverBudget:
      return 4;
    case ErrorKind::kIo:
      return 5;
    case ErrorKind::kDevice:
      return 6;
  }
  return 1;
}

int with_threads(std::size_t threads, const auto& command) {
  if (threads == 0) return command();
  const tbb::global_control control(tbb::global_control::max_allowed_parallelism, threads);
  return command();
}

int dispatch(int argc, char** argv) {
  const auto options = parse_options(argc, argv);
  if (!options) return 0;
  switch (options->command) {
    case Command::kRun:
      return with_threads(options->run.on.threads, [&] { return run_command(options->run); });
    case Command::kPlan:
      return with_threads(options->plan.on.threads, [&] { return plan_command(options->plan); });
    case Command::kSweep:
      return with_threads(options->sweep.on.threads, [&] { return sweep_command(options->sweep); });
    case Command::kBench:
      return with_threads(options->bench.on.threads, [&] { return bench_command(options->bench); });
    case Command::kPerplexity:
      return with_threads(options->perplexity.on.threads,
                          [&] { return perplexity_command(options->perplexity); });
    case Command::kSynth:
      return with_threads(options->synth.threads, [&] { return synth_command(options->synth); });
    case Command::kProbe:
      return probe_command(options->probe);
    case Command::kInspect:
      return inspect_command(options->inspect);
    case Command::kHardware:
      return hardware_command(options->hardware);
  }
  return 1;
}

// What a command printed may still be on its way: a full disk shows here, for all of them.
void flush_output() {
  std::cout.flush();
  if (!std::cout || std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    throw Error(ErrorKind::kIo, "can't write to standard output");
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const int code = dispatch(argc, argv);
    flush_output();
    return code;
  } catch (const Error& error) {
    std::fprintf(stderr, "sluice: %s\n", error.what());
    return exit_code(error.kind());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "sluice: the system has no memory left; close programs or lower --ctx\n");
    return exit_code(ErrorKind::kIo);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sluice: internal error: %s\n", error.what());
    return exit_code(ErrorKind::kInternal);
  }
}
