#include "cli/options.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <iostream>
#include <thread>

#include "cli/synthetic_model.h"
#include "memory/error.h"
#include "memory/printable.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr std::size_t kMaxTokensOption = std::size_t{1} << 24;
constexpr std::size_t kMaxSlotsOption = 64;

// "12GB/s", "12GB/s,10us"
LinkSpeed parse_link(const std::string& value) {
  const std::size_t comma = value.find(',');
  LinkSpeed link{.bytes_per_second = parse_rate(value.substr(0, comma), "--link")};
  if (comma == std::string::npos) return link;
  const std::string latency = value.substr(comma + 1);
  std::size_t used = 0;
  double number = -1.0;
  try {
    number = std::stod(latency, &used);
  } catch (const std::exception&) {
  }
  const std::string unit = latency.substr(used);
  const double scale = unit == "us" ? 1e-6 : unit == "ms" ? 1e-3 : unit == "s" ? 1.0 : 0.0;
  link.latency_seconds = number * scale;
  if (scale == 0.0 || !(link.latency_seconds >= 0.0 && link.latency_seconds <= 1.0)) {
    throw Error(ErrorKind::kUsage,
                text("--link ", value, ": a latency looks like 10us or 0.5ms, and is at most 1s"));
  }
  return link;
}

// Parses into `to` when given. CLI11 would wrap an Error of ours: values are kept as text first.
struct RawPlacement {
  std::string gpu;
  std::string link;
  std::string device_flops;
  std::string host_flops;
  std::string host_bandwidth;
  std::string ram;
  std::string host_units;
  std::string host_cache;
  std::string device = "auto";
  std::vector<std::string> kv_types;
  std::string precision;
  std::string metric = "decode";  // of a sweep
  std::string goal = "latency";   // of a plan or a sweep
};

void add_threads(CLI::App& app, std::size_t& threads) {
  app.add_option("--threads", threads, "Threads to compute with (default: all cores)")
      ->type_name("N");
}

void check_threads(std::size_t threads) {
  const std::size_t cores = std::max(1U, std::thread::hardware_concurrency());
  if (threads > cores) {
    throw Error(ErrorKind::kUsage,
                text("--threads ", threads, ": this machine has ", cores, " cores"));
  }
}

void add_placement(CLI::App& app, PlacementOptions& o, RawPlacement& raw) {
  app.add_option("MODEL", o.model, "A GGUF file, or the first of a split one")->required();
  app.add_option("--vram", o.vram,
                 "Device memory to keep to: 96MiB, 24GB, 50% (of the weights), unlimited; on cuda\n"
                 "also auto (the default): what is free, less a margin")
      ->type_name("SIZE");
  app.add_option("--ram", raw.ram,
                 "Host memory to keep to, 16GiB; weights that don't fit are read from the disk in\n"
                 "every pass (default: it holds all that isn't on the device)")
      ->type_name("SIZE");
  app.add_option("--device", raw.device,
                 "auto: cuda where there is one, else sim with --vram, else cpu")
      ->check(CLI::IsMember({"auto", "cpu", "sim", "cuda"}))
      ->type_name("auto|cpu|sim|cuda");
  app.add_option("--gpu", raw.gpu,
                 "Which GPU, counted from 0; in sluice plan also one that isn't there, by a name\n"
                 "that sluice hardware lists")
      ->type_name("N");
  app.add_option("--link", raw.link,
                 "Speed of sim's link to host memory, and its latency: 12GB/s,10us; in sluice\n"
                 "plan also a name that sluice hardware lists")
      ->type_name("RATE");
  app.add_option("--device-flops", raw.device_flops,
                 "Make sim's products take as long as at this speed: 500GFLOP/s")
      ->type_name("RATE");
  app.add_option("--host-flops", raw.host_flops, "The same for units that the host computes")
      ->type_name("RATE");
  app.add_option("--host-bandwidth", raw.host_bandwidth,
                 "Make them also take as long as reading weights at this rate: 20GB/s")
      ->type_name("RATE");
  app.add_option("--ctx", o.context_tokens, "Tokens of context to make room for")
      ->check(CLI::Range(std::size_t{1}, kMaxTokensOption))
      ->type_name("TOKENS");
  app.add_option("--slots", o.slots, "Buffers that weights stream through (1: no prefetching)")
      ->check(CLI::Range(std::size_t{1}, kMaxSlotsOption))
      ->type_name("N");
  app.add_option("--segment", o.segment_tokens, "Tokens of a prompt worked on at once")
      ->check(CLI::Range(std::size_t{1}, kMaxTokensOption))
      ->type_name("TOKENS");
  app.add_option(
         "--host-units", raw.host_units,
         "Streamed feed-forward units that the CPU computes in small passes, while the\n"
         "link brings others; auto: as many as pay (default: auto on cuda, and on sim with\n"
         "--host-flops or --host-bandwidth, else 0)")
      ->type_name("N|auto");
  app.add_option(
         "--host-cache", raw.host_cache,
         "Layers whose keys and values stay in host memory, where the CPU attends to them;\n"
         "auto: as many as pay, or as have to (default: auto where it computes units)")
      ->type_name("N|auto");
  app.add_option("--place", o.place,
                 "Where some units are: attn, ffn, head, * or, by layers, attn.7, ffn.0-9, ffn.*;\n"
                 "= resident, stream or (ffn in small passes) host. Later ones win")
      ->allow_extra_args(false)
      ->type_name("PATTERN=PLACE");
  app.add_option("--resident", o.resident_units, "How many units are resident (default: what fits)")
      ->type_name("N");
  app.add_option("--precision", raw.precision,
                 "Of activations: high (16 bits for quantised weights; default for small models)\n"
                 "or normal (8 bits, which doubles a prompt's speed)")
      ->check(CLI::IsMember({"normal", "high"}))
      ->type_name("normal|high");
  app.add_option(
         "--kv-types", raw.kv_types,
         "Types that cached keys and values may have, with commas between: f32, f16 or q8_0,\n"
         "which takes half as much as f16 and loses a little. Of several the fastest plan's\n"
         "(default: f16, or f32 for F32 models)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember({"f32", "f16", "q8_0"}))
      ->type_name("TYPES");
  app.add_flag("--cached-rates", o.cached_rates,
               "Plan with the rates that sluice probe has kept, rather than measure this model's");
  add_threads(app, o.threads);
}

// "12", "auto".
void parse_count(const std::string& value, const char* option, const char* of_what,
                 std::optional<std::size_t>& given, bool& is_auto) {
  is_auto = value == "auto";
  if (value.empty() || is_auto) return;
  std::size_t count = 0;
  const char* end = value.data() + value.size();
  const auto [at, error] = std::from_chars(value.data(), end, count);
  if (error != std::errc{} || at != end) {
    throw Error(ErrorKind::kUsage,
                text(option, " ", printable(value), ": it is a number of ", of_what, ", or auto"));
  }
  given = count;
}

void finish_placement(PlacementOptions& o, const RawPlacement& raw) {
  o.device = raw.device == "cpu"    ? DeviceChoice::kCpu
             : raw.device == "sim"  ? DeviceChoice::kSim
             : raw.device == "cuda" ? DeviceChoice::kCuda
                                    : DeviceChoice::kAuto;
  const auto parse_into = [](double& rate, const std::string& value, auto parse, const char* name) {
    if (!value.empty()) rate = parse(value, name);
  };
  parse_into(o.device_pace.operations_per_second, raw.device_flops, parse_operations,
             "--device-flops");
  parse_into(o.host_pace.operations_per_second, raw.host_flops, parse_operations, "--host-flops");
  parse_into(o.host_pace.bytes_per_second, raw.host_bandwidth, parse_rate, "--host-bandwidth");
  if (!raw.ram.empty()) o.ram_bytes = parse_bytes(raw.ram, "--ram");
  parse_count(raw.host_units, "--host-units", "units", o.host_units, o.host_units_auto);
  parse_count(raw.host_cache, "--host-cache", "layers", o.host_cache_layers, o.host_cache_auto);
  if (!raw.gpu.empty()) parse_gpu(raw.gpu, o.gpu, o.hardware);
  if (is_profile_name(raw.link)) {
    o.hardware.link = raw.link;
  } else if (!raw.link.empty()) {
    o.link = parse_link(raw.link);
  }
  if (!raw.precision.empty()) {
    o.precision = raw.precision == "high" ? Precision::kHigh : Precision::kNormal;
  }
  for (const std::string& name : raw.kv_types) o.kv_types.push_back(*kv_type_named(name));
  check_threads(o.threads);
}

void add_sampling(CLI::App& app, SamplingOptions& s) {
  const std::string group = "Sampling";
  app.add_option("--temp", s.temperature, "Temperature; 0 is greedy")->group(group);
  app.add_option("--top-k", s.top_k, "Keep the K likeliest tokens; 0: all")->group(group);
  app.add_option("--top-p", s.top_p, "Keep the likeliest tokens that make up P")->group(group);
  app.add_option("--min-p", s.min_p, "Drop tokens less likely than P times the likeliest")
      ->group(group);
  app.add_option("--repetition-penalty", s.repetition_penalty, "1: none")->group(group);
  app.add_option("--presence-penalty", s.presence_penalty, "0: none")->group(group);
  app.add_option("--frequency-penalty", s.frequency_penalty, "0: none")->group(group);
  app.add_option("--penalty-tokens", s.penalty_tokens, "How far back penalties look; 0: all")
      ->group(group);
  app.add_option("--seed", s.seed, "The same seed gives the same text")->group(group);
}

void add_plan_file(CLI::App& app, std::string& file) {
  app.add_option("--plan", file,
                 "Run as this plan says, which sluice plan --save wrote for this model")
      ->type_name("FILE");
}

void add_goal(CLI::App& app, std::string& goal) {
  app.add_option("--for", goal,
                 "latency: --sequences are worked on at once, and soon done; throughput: they are\n"
                 "all there is to do, as many at once as is fastest")
      ->check(CLI::IsMember({"latency", "throughput"}))
      ->capture_default_str()
      ->type_name("latency|throughput");
}

void add_run(CLI::App& app, RunOptions& o, RawPlacement& raw) {
  add_placement(app, o.on, raw);
  add_plan_file(app, o.on.plan_file);
  auto* prompt = app.add_option("-p,--prompt", o.prompt, "The prompt")->type_name("TEXT");
  app.add_option("-f,--file", o.prompt_file, "A file with the prompt; - is standard input")
      ->type_name("FILE")
      ->excludes(prompt);
  app.add_flag("--chat", o.chat, "A conversation, which keeps its cache; ends with Ctrl-D");
  app.add_option("--system", o.system, "System message")->type_name("TEXT");
  app.add_flag("--raw", o.raw, "Take the prompt as it is, without the model's chat template");
  app.add_flag("--ids", o.ids, "The prompt is token ids; print token ids");
  app.add_option("--max-tokens", o.max_tokens, "Tokens to generate, at most")
      ->check(CLI::Range(std::size_t{1}, kMaxTokensOption))
      ->capture_default_str()
      ->type_name("TOKENS");
  app.add_flag("--ignore-eos", o.ignore_eos, "Go on after the end of the reply");
  app.add_flag("-q,--quiet", o.quiet, "No progress and no report");
  app.add_option("--logits", o.logits_file,
                 "Write the logits that each token was sampled from, as .npy")
      ->type_name("FILE");
  app.add_option("--stats", o.stats_file, "Write what was measured, as JSON")->type_name("FILE");
  app.add_option("--trace", o.trace_file,
                 "Write what ran when, and when it was predicted to, for Perfetto")
      ->type_name("FILE");
  app.add_option("--timeline", o.timeline_file,
                 "Draw one decode pass as SVG: what ran when, above what was predicted")
      ->type_name("FILE");
  add_sampling(app, o.sampling);
}

// What plans can be for: a model and hardware that needn't be there.
void add_planned_model(CLI::App& app, std::string& weights, HardwareOptions& hardware) {
  app.get_option("MODEL")->description("A GGUF file, or a shape that needs none: " + shape_names());
  app.add_option("--weights", weights,
                 "Type of a shape's matrices: f16, q4_0, q4_k_s... (default: " +
                     std::string(kDefaultPlanWeights) + ")")
      ->type_name("TYPE");
  add_hardware(app, hardware);
}

void add_plan(CLI::App& app, PlanOptions& o, RawPlacement& raw) {
  add_placement(app, o.on, raw);
  add_planned_model(app, o.weights, o.on.hardware);
  const auto at_least_one = CLI::Range(std::size_t{1}, kMaxTokensOption);
  app.add_option("--prompt-tokens", o.prompt_tokens, "Of each sequence")
      ->check(at_least_one)
      ->capture_default_str();
  app.add_option("--max-tokens", o.max_tokens, "To generate, of each sequence")
      ->check(at_least_one)
      ->capture_default_str();
  app.add_option("--sequences", o.sequences, "How many: at once, or --for throughput in all")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  add_goal(app, raw.goal);
  app.add_option("--json", o.json_file,
                 "Write all that the table says, and more, as JSON; -: print it")
      ->type_name("FILE");
  app.add_option("--save", o.save_file, "Write the plan, for sluice run --plan FILE")
      ->type_name("FILE");
  app.add_option("--timeline", o.timeline_file, "Draw one decode pass, as predicted, as SVG")
      ->type_name("FILE");
}

void add_sweep(CLI::App& app, SweepOptions& o, RawPlacement& raw) {
  add_placement(app, o.on, raw);
  const auto at_least_one = CLI::Range(std::size_t{1}, kMaxTokensOption);
  add_planned_model(app, o.weights, o.on.hardware);
  app.get_option("--vram")
      ->required()
      ->description(
          "Limits of device memory: FROM..TO:STEP, or sizes with commas between:\n"
          "2GiB..24GiB:1GiB, 8GiB,12GiB,16GiB")
      ->type_name("SIZES");
  app.get_option("--weights")
      ->description(
          "Type of a shape's matrices; several give a line each: q4_k_m,q8_0,f16 "
          "(default: " +
          std::string(kDefaultPlanWeights) + ")")
      ->type_name("TYPES");
  app.remove_option(app.get_option("--ctx"));
  app.add_option("--ctx", o.context_tokens,
                 "Tokens of context to make room for; several give a line each: 2048,8192,32768")
      ->type_name("TOKENS");
  app.add_option("--sequences", o.sequences, "At once; several give a line each: 1,4,16")
      ->capture_default_str()
      ->type_name("COUNTS");
  add_goal(app, raw.goal);
  app.add_option("--prompt-tokens", o.prompt_tokens, "Of each sequence")
      ->check(at_least_one)
      ->capture_default_str();
  app.add_option("--max-tokens", o.max_tokens, "To generate, of each sequence")
      ->check(at_least_one)
      ->capture_default_str();
  app.add_flag("--measure", o.measure, "Run every plan too, on the device");
  app.add_option("--repeats", o.repeats, "Rounds that are measured of each plan")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--metric", raw.metric, "What the picture shows")
      ->check(CLI::IsMember({"decode", "prefill", "total"}))
      ->capture_default_str()
      ->type_name("decode|prefill|total");
  app.add_option("--csv", o.csv_file, "Write the table as CSV")->type_name("FILE");
  app.add_option("--json", o.json_file, "Write it as JSON")->type_name("FILE");
  app.add_option("--svg", o.svg_file, "Draw speed over device memory")->type_name("FILE");
}

void add_bench(CLI::App& app, BenchOptions& o, RawPlacement& raw) {
  o.on.model = "tinyllama-1.1b";
  add_placement(app, o.on, raw);
  add_plan_file(app, o.on.plan_file);
  app.get_option("MODEL")
      ->required(false)
      ->description("A GGUF file, or a shape to be given random weights: " + shape_names())
      ->capture_default_str();
  const auto tokens = CLI::Range(std::size_t{1}, kMaxTokensOption);
  app.add_option("--weights", o.weights, "Type of a shape's matrices: f16, q8_0, q4_k_m...")
      ->capture_default_str()
      ->type_name("TYPE");
  app.add_option("--prompt-tokens", o.prompt_tokens, "Lengths of prompts, with commas between")
      ->delimiter(',')
      ->check(tokens)
      ->capture_default_str();
  app.add_option("--sequences", o.sequences, "How many at once, with commas between")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--max-tokens", o.max_tokens, "To generate, of each sequence")
      ->check(tokens)
      ->capture_default_str();
  app.add_option("--repeats", o.repeats, "Rounds over all cases")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--drawn-layers", o.drawn_layers,
                 "Of a shape, how many layers to draw; the others have the same weights,\n"
                 "which saves time and host memory (0: all)")
      ->capture_default_str();
  app.add_option("--warm-up", o.warm_up,
                 "Rounds before them that don't count; 0: two short passes only")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  app.add_option("--isa", o.isa,
                 "Compute with a lower instruction set: avx512-vnni, avx-vnni, avx2, baseline")
      ->type_name("NAME");
  app.add_option("--json", o.json_file, "Write limits and results as JSON")->type_name("FILE");
  app.add_flag("-q,--quiet", o.quiet, "No progress");
}

void add_perplexity(CLI::App& app, PerplexityOptions& o, RawPlacement& raw) {
  add_placement(app, o.on, raw);
  app.add_option("FILE", o.file, "A text; - is standard input")->required();
  app.add_flag("--ids", o.ids, "The file holds token ids");
}

void add_synth(CLI::App& app, SynthOptions& o) {
  app.add_option("PRESET", o.preset, "Which shape: " + shape_names())->required();
  app.add_option("--weights", o.weights, "Type of the matrices: f16, q8_0, q4_k_m...")
      ->capture_default_str()
      ->type_name("TYPE");
  app.add_option("-o,--output", o.output, "The file to write")->required()->type_name("FILE");
  app.add_option("--seed", o.seed, "The same seed gives the same file")->capture_default_str();
  app.add_flag("-q,--quiet", o.quiet, "No progress");
  add_threads(app, o.threads);
}

void add_probe(CLI::App& app, ProbeOptions& o) {
  app.add_option(
         "--file", o.file,
         "A large file on the disk to measure (default: a temporary one in the cache folder)")
      ->type_name("FILE");
  app.add_option("--gpu", o.gpu, "Which GPU, counted from 0")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N");
  app.add_flag("--fresh", o.fresh, "Measure anew");
  app.add_option("--json", o.json_file, "Write the tables as JSON")->type_name("FILE");
  app.add_flag("-q,--quiet", o.quiet, "No progress");
}

}  // namespace

std::optional<Options> parse_options(int argc, char** argv) {
  Options options{};
  RawPlacement raw;
  CLI::App app("Sluice runs language models that are larger than the device they run on.",
               "sluice");
  app.set_version_flag("--version", "sluice " SLUICE_VERSION);
  app.require_subcommand(1);
  CLI::App* run = app.add_subcommand("run", "Generate text");
  CLI::App* plan = app.add_subcommand("plan", "Show where everything would go, and how fast");
  CLI::App* sweep =
      app.add_subcommand("sweep", "Show how fast each of many memory limits would be");
  CLI::App* bench = app.add_subcommand("bench", "Measure speed against the machine's limits");
  CLI::App* perplexity =
      app.add_subcommand("perplexity", "Score a text, in windows of --ctx tokens (512)");
  CLI::App* synth =
      app.add_subcommand("synth", "Write a model of a known shape with random weights");
  CLI::App* inspect = app.add_subcommand("inspect", "Show what a model file holds");
  CLI::App* probe =
      app.add_subcommand("probe", "Measure this machine: links, memory, disk, arithmetic");
  add_probe(*probe, options.probe);
  add_run(*run, options.run, raw);
  add_plan(*plan, options.plan, raw);
  add_sweep(*sweep, options.sweep, raw);
  add_bench(*bench, options.bench, raw);
  add_perplexity(*perplexity, options.perplexity, raw);
  add_synth(*synth, options.synth);
  inspect->add_option("MODEL", options.inspect.model, "A GGUF file")->required();
  CLI::App* hardware = app.add_subcommand("hardware", "List the hardware that plans can be for");
  hardware->add_option("NAME", options.hardware.name, "One of it, with where its figures are from");
  add_hardware_files(*hardware, options.hardware.files);
  inspect->add_flag("--tensors", options.inspect.tensors, "List every tensor");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked) {
    app.exit(asked);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    throw Error(ErrorKind::kUsage, text(error.what(), "; see sluice --help"));
  }
  options.command = run->parsed()          ? Command::kRun
                    : plan->parsed()       ? Command::kPlan
                    : sweep->parsed()      ? Command::kSweep
                    : perplexity->parsed() ? Command::kPerplexity
                    : bench->parsed()      ? Command::kBench
                    : synth->parsed()      ? Command::kSynth
                    : hardware->parsed()   ? Command::kHardware
                    : probe->parsed()      ? Command::kProbe
                                           : Command::kInspect;
  if (run->parsed()) {
    finish_placement(options.run.on, raw);
    check(options.run.sampling);
  }
  check_threads(options.synth.threads);
  options.plan.goal = options.sweep.goal =
      raw.goal == "throughput" ? Goal::kThroughput : Goal::kLatency;
  if (plan->parsed()) {
    finish_placement(options.plan.on, raw);
    check_hardware(options.plan.on.hardware);
  }
  if (sweep->parsed()) {
    finish_placement(options.sweep.on, raw);
    check_hardware(options.sweep.on.hardware);
    options.sweep.metric = raw.metric == "prefill" ? SweepMetric::kPrefill
                           : raw.metric == "total" ? SweepMetric::kTotal
                                                   : SweepMetric::kDecode;
  }
  if (bench->parsed()) finish_placement(options.bench.on, raw);
  if (perplexity->parsed()) finish_placement(options.perplexity.on, raw);
  for (const PlacementOptions* on : {&options.run.on, &options.bench.on, &options.perplexity.on}) {
    refuse_profiles(on->hardware);
  }
  return options;
}

}  // namespace sluice
