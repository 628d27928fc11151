// The commands. Each returns the exit code (docs/errors.md) or throws Error.
#pragma once

#include "cli/options.h"

namespace sluice {

inline constexpr int kExitInterrupted = 130;

int run_command(const RunOptions& options);
int plan_command(const PlanOptions& options);
int sweep_command(const SweepOptions& options);
int bench_command(const BenchOptions& options);
int synth_command(const SynthOptions& options);
int perplexity_command(const PerplexityOptions& options);
int probe_command(const ProbeOptions& options);
int inspect_command(const InspectOptions& options);
int hardware_command(const ListHardwareOptions& options);

}  // namespace sluice
