// The command line: every command's options, with their defaults.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/hardware_options.h"
#include "layers/activations.h"
#include "layers/ops_cpu.h"
#include "layers/sampler.h"
#include "memory/kv_pages.h"
#include "memory/link.h"
#include "offload/throughput.h"

namespace sluice {

enum class DeviceChoice { kAuto, kCpu, kSim, kCuda };
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

// What a model is run on, and within what.
struct PlacementOptions {
  std::string model;
  DeviceChoice device = DeviceChoice::kAuto;
  int gpu = 0;
  HardwareOptions hardware;  // to plan for
  std::string vram;          // "96MiB", "50%" of the weights, "auto", "unlimited"; empty: not given
  std::optional<std::size_t> ram_bytes;
  std::optional<LinkSpeed> link;
  ComputePace device_pace;  // of sim
  ComputePace host_pace;    // beside sim
  std::optional<std::size_t> slots;
  std::optional<std::size_t> segment_tokens;
  std::optional<std::size_t> context_tokens;
  std::optional<std::size_t> host_units;
  bool host_units_auto = false;  // as many as pay
  std::optional<std::size_t> host_cache_layers;
  bool host_cache_auto = false;
  std::vector<std::string> place;  // "ffn.0-9=host": cli/placement_pins.h
  std::optional<std::size_t> resident_units;
  std::string plan_file;         // which says all of this; empty: none
  std::vector<KvType> kv_types;  // empty: the default
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
