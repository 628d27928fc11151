#include "cli/options.h"

#include <CLI/CLI.hpp>
#include <iostream>

#include "cli/synthetic_model.h"
#include "memory/error.h"
#include "memory/printable.h"
#include "memory/units.h"

namespace sluice {
namespace {

struct Raw {
  RawPlacement placement;
  std::string metric = "decode";  // of a sweep
  std::string goal = "latency";   // of a plan or a sweep
};

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

void add_run(CLI::App& app, RunOptions& o, Raw& raw) {
  add_placement(app, o.on, raw.placement);
  app.get_option("--ctx")->description(
      "Tokens of context to make room for (default: the prompt and --max-tokens; in --chat\n"
      "4096, or as many as the limit and the model allow)");
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

void add_plan(CLI::App& app, PlanOptions& o, Raw& raw) {
  add_placement(app, o.on, raw.placement);
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

void add_sweep(CLI::App& app, SweepOptions& o, Raw& raw) {
  add_placement(app, o.on, raw.placement);
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

void add_bench(CLI::App& app, BenchOptions& o, Raw& raw) {
  o.on.model = "tinyllama-1.1b";
  add_placement(app, o.on, raw.placement);
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
  app.add_flag("--no-graphs", o.no_graphs,
               "Hand a GPU's kernels over one by one, also where a pass can be one graph");
  app.add_option("--json", o.json_file, "Write limits and results as JSON")->type_name("FILE");
  app.add_flag("-q,--quiet", o.quiet, "No progress");
}

void add_perplexity(CLI::App& app, PerplexityOptions& o, Raw& raw) {
  add_placement(app, o.on, raw.placement);
  app.add_option("FILE", o.file, "A text; - is standard input")->required();
  app.add_flag("--ids", o.ids, "The file holds token ids");
  app.add_flag("-q,--quiet", o.quiet, "No progress and no speed");
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
  Raw raw;
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
    finish_placement(options.run.on, raw.placement);
    check(options.run.sampling);
  }
  check_threads(options.synth.threads);
  options.plan.goal = options.sweep.goal =
      raw.goal == "throughput" ? Goal::kThroughput : Goal::kLatency;
  if (plan->parsed()) {
    finish_placement(options.plan.on, raw.placement);
    check_hardware(options.plan.on.hardware);
  }
  if (sweep->parsed()) {
    finish_placement(options.sweep.on, raw.placement);
    check_hardware(options.sweep.on.hardware);
    options.sweep.metric = raw.metric == "prefill" ? SweepMetric::kPrefill
                           : raw.metric == "total" ? SweepMetric::kTotal
                                                   : SweepMetric::kDecode;
  }
  if (bench->parsed()) finish_placement(options.bench.on, raw.placement);
  if (perplexity->parsed()) finish_placement(options.perplexity.on, raw.placement);
  for (const PlacementOptions* on : {&options.run.on, &options.bench.on, &options.perplexity.on}) {
    refuse_profiles(on->hardware);
  }
  return options;
}

}  // namespace sluice
