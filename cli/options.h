// The command line: every command's options, with their defaults.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "layers/activations.h"
#include "layers/ops_cpu.h"
#include "layers/sampler.h"
#include "memory/kv_pages.h"
#include "memory/link.h"

namespace sluice {

enum class DeviceChoice { kAuto, kCpu, kSim, kCuda };
enum class Command { kRun, kPlan, kPerplexity, kBench, kSynth, kInspect, kProbe };

// What a model is run on, and within what.
struct PlacementOptions {
  std::string model;
  DeviceChoice device = DeviceChoice::kAuto;
  int gpu = 0;
  std::string vram;  // "96MiB", "50%" of the weights, "auto", "unlimited"; empty: not given
  std::optional<LinkSpeed> link;
  ComputePace device_pace;  // of sim
  ComputePace host_pace;    // beside sim
  std::optional<std::size_t> slots;
  std::optional<std::size_t> segment_tokens;
  std::optional<std::size_t> context_tokens;
  std::optional<std::size_t> host_units;
  std::optional<KvType> kv_type;
  std::optional<Precision> precision;
  bool cached_rates = false;  // plans take those of sluice probe, where there are
  std::size_t threads = 0;    // 0: all cores
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
};

struct PlanOptions {
  PlacementOptions on;
  std::size_t prompt_tokens = 512;
  std::size_t max_tokens = 256;
  std::size_t sequences = 1;
};

struct BenchOptions {
  PlacementOptions on;  // the model is a file or a preset
  std::string weights = "q4_0";
  std::vector<std::size_t> prompt_tokens = {512};
  std::vector<std::size_t> sequences = {1, 4, 16};
  std::size_t max_tokens = 64;
  std::size_t repeats = 5;
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
};

struct InspectOptions {
  std::string model;
  bool tensors = false;
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
  BenchOptions bench;
  PerplexityOptions perplexity;
  SynthOptions synth;
  InspectOptions inspect;
  ProbeOptions probe;
};

// Nothing when all has been said already (--help, --version): exit 0. Throws Error{kUsage}.
std::optional<Options> parse_options(int argc, char** argv);

}  // namespace sluice
