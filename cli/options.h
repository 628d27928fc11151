// The command line: every command's options, with their defaults.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/placement_options.h"
#include "layers/sampler.h"
#include "offload/throughput.h"

namespace sluice {

enum class Command {
  kRun,
  kPlan,
  kSweep,
  kPerplexity,
  kBench,
  kSynth,
  kInspect,
  kHardware,
  kProbe
};

struct RunOptions {
  PlacementOptions on;
  std::optional<std::string> prompt;
  std::optional<std::string> prompt_file;
  std::optional<std::string> system;
  bool chat = false;
  bool raw = false;  // the prompt is not put into the model's chat template
  bool ids = false;  // the prompt is token ids, and so is what is printed
  bool ignore_eos = false;
  bool quiet = false;
  std::size_t max_tokens = 256;
  SamplingOptions sampling;
  std::string logits_file;  // empty: none
  std::string stats_file;
  std::string trace_file;
  std::string timeline_file;
};

struct PlanOptions {
  PlacementOptions on;  // the model is a file or a shape
  std::string weights;  // of a shape; empty: kDefaultPlanWeights
  std::size_t prompt_tokens = 512;
  std::size_t max_tokens = 256;
  std::size_t sequences = 1;
  Goal goal = Goal::kLatency;
  std::string json_file;
  std::string save_file;
  std::string timeline_file;
};

enum class SweepMetric { kDecode, kPrefill, kTotal };

struct SweepOptions {
  PlacementOptions on;         // its vram holds limits, as cli/sweep_axes.h reads them
  std::string weights;         // of a shape, with commas between; empty: kDefaultPlanWeights
  std::string context_tokens;  // so do these hold values; empty: as much as is needed
  std::string sequences = "1";
  std::size_t prompt_tokens = 512;
  std::size_t max_tokens = 256;
  Goal goal = Goal::kLatency;
  bool measure = false;
  std::size_t repeats = 3;
  SweepMetric metric = SweepMetric::kDecode;  // of the picture
  std::string csv_file;
  std::string json_file;
  std::string svg_file;
};

struct BenchOptions {
  PlacementOptions on;  // the model is a file or a preset
  std::string weights = "q4_0";
  std::vector<std::size_t> prompt_tokens = {512};
  std::vector<std::size_t> sequences = {1, 4, 16};
  std::size_t max_tokens = 64;
  std::size_t repeats = 5;
  bool no_graphs = false;
  std::size_t warm_up = 1;
  std::size_t drawn_layers = 0;  // 0: all
  std::string isa;               // empty: the best
  std::string json_file;
  bool quiet = false;
};

struct SynthOptions {
  std::string preset;
  std::string weights = "q4_0";
  std::string output;
  std::uint64_t seed = 1;
  std::size_t threads = 0;
  bool quiet = false;
};

struct PerplexityOptions {
  PlacementOptions on;
  std::string file;
  bool ids = false;  // the file holds token ids
  bool quiet = false;
};

struct InspectOptions {
  std::string model;
  bool tensors = false;
};

struct ListHardwareOptions {
  std::string name;  // empty: all
  std::vector<std::string> files;
};

struct ProbeOptions {
  int gpu = 0;
  std::string file;       // to measure a disk by; empty: a temporary one
  std::string json_file;  // empty: none
  bool fresh = false;     // measures although there is a cached probe
  bool quiet = false;
};

struct Options {
  Command command;
  RunOptions run;
  PlanOptions plan;
  SweepOptions sweep;
  BenchOptions bench;
  PerplexityOptions perplexity;
  SynthOptions synth;
  InspectOptions inspect;
  ListHardwareOptions hardware;
  ProbeOptions probe;
};

inline constexpr std::string_view kDefaultPlanWeights = "q4_k_m";

// Nothing when all has been said already (--help, --version): exit 0. Throws Error{kUsage}.
std::optional<Options> parse_options(int argc, char** argv);

}  // namespace sluice
