#include <algorithm>
#include <array>
#include <iostream>
#include <map>
#include <optional>

#include "cli/bench_report.h"
#include "cli/commands.h"
#include "cli/given_plan.h"
#include "cli/interrupt.h"
#include "cli/memory_model.h"
#include "cli/output_file.h"
#include "cli/progress.h"
#include "cli/session.h"
#include "layers/isa.h"
#include "memory/clock.h"
#include "memory/error.h"
#include "memory/units.h"

namespace sluice {
namespace {

using Token = std::int32_t;

constexpr std::size_t kBatchPromptTokens = 128;  // of a sequence among others, at most

// The type that most of the weights have.
std::string_view main_type(const ModelLayout& layout) {
  std::map<std::size_t, std::string_view> by_bytes;
  for (const DType type : kAllDTypes) {
    std::size_t bytes = 0;
    for (const UnitInfo& unit : layout.units) {
      for (const MatrixInfo& m : unit.matrices) bytes += m.type() == type ? m.size_bytes : 0;
    }
    by_bytes[bytes] = dtype_info(type).name;
  }
  return by_bytes.rbegin()->second;
}

// One engine, which all cases share; a round runs each case once.
class Bench {
 public:
  Bench(const BenchOptions& options, const OpenModel& model, const std::atomic<bool>* stop)
      : options_(options),
        model_(model),
        given_(read_given_plan(options.on, model.layout)),
        target_(choose_target(given_ ? given_->on : options.on, model.layout, &gpu_rates_)) {
    if (!gpu_rates_) meter_.emplace();
    plan_ = given_ ? take_given() : make_plan_here();
    ProgressBar bar("loading", true, options.quiet);
    EngineOptions engine_options;
    engine_options.on_load = bar.updater();
    engine_options.stop = stop;
    engine_options.graphs = !options.no_graphs;
    loaded_.emplace(model, plan_, target_, engine_options);
    for (const std::size_t tokens : options.prompt_tokens) add_cases(tokens);
  }

  void run(ProgressBar& bar) {
    std::size_t total = 0;
    for (const BenchRow& row : rows_) total += tokens_of(row);
    std::size_t done = 0;
    if (options_.warm_up == 0) touch();
    const std::size_t rounds = options_.warm_up + options_.repeats;
    for (std::size_t round = 0; round < rounds; ++round) {
      for (BenchRow& row : rows_) {
        const MachineRates rates = meter_ ? meter_->measure() : MachineRates{};
        const Timing timing = row.name == "prefill" ? prefill(row) : generate(row);
        if (round >= options_.warm_up) add(row, timing, rates);
        bar.update(done += tokens_of(row), rounds * total);
      }
    }
  }

  const std::vector<BenchRow>& rows() const { return rows_; }
  void describe(BenchMachine& machine) const {
    if (target_.gpu != nullptr) machine.gpu = target_.gpu->model();
    machine.gpu_rates = gpu_rates_;
    if (meter_) machine.rates = median_of(rates_);
    machine.precision = precision_name(plan_.precision);
    machine.kv_type = kv_type_name(plan_.kv.type);
    machine.limit_bytes = plan_.limit_bytes;
    machine.device_bytes = plan_.bytes.total();
    machine.streamed_bytes = plan_.streamed_bytes(model_.layout, 1);
    machine.host_units = plan_.host_units(1);
  }

 private:
  std::size_t longest_prompt() const { return std::ranges::max(options_.prompt_tokens); }
  std::size_t most_sequences() const { return std::ranges::max(options_.sequences); }
  std::size_t longest_tokens() const { return longest_prompt() + options_.max_tokens; }

  Plan make_plan_here() const {
    const std::size_t wanted = longest_tokens();
    const Workload workload{.sequences = most_sequences(),
                            .prompt_tokens = longest_prompt(),
                            .max_tokens = options_.max_tokens,
                            .context_tokens = options_.on.context_tokens.value_or(wanted),
                            .cache_tokens = cache_tokens(wanted)};
    if (workload.context_tokens < wanted) {
      throw Error(ErrorKind::kUsage,
                  text("--ctx ", workload.context_tokens, ": prompt and reply of ", wanted,
                       " tokens are to be measured"));
    }
    return plan_for(model_, workload, target_);
  }

  Plan take_given() const {
    Plan plan = given_->fit(target_);
    const Workload& has = plan.workload;
    if (has.sequences < most_sequences() || has.context_tokens < longest_tokens()) {
      throw Error(ErrorKind::kUsage,
                  text("the plan has room for ", has.sequences,
                       has.sequences == 1 ? " sequence of " : " sequences of ", has.context_tokens,
                       " tokens, and ", most_sequences(), " of ", longest_tokens(),
                       " are to be measured; lower --sequences, --prompt-tokens ",
                       "or --max-tokens, or make a plan for more"));
    }
    return plan;
  }

  struct Timing {
    double seconds;
    double overlap;  // 0: nothing is streamed
  };

  // Times `work`, and how well its copies hid behind its computation, or the other way round.
  template <typename Work>
  Timing time(const Work& work) {
    const EngineCounters before = loaded_->engine.counters();
    const double begin = now_seconds();
    work();
    Timing timing{now_seconds() - begin, 0.0};
    const EngineCounters after = loaded_->engine.counters();
    const double computing =
        after.compute_seconds - before.compute_seconds + after.host_seconds - before.host_seconds;
    const double longer = std::max(after.copy_seconds - before.copy_seconds, computing);
    if (plan_.slots > 0 && longer > 0.0) {
      timing.overlap = (after.pass_seconds - before.pass_seconds) / longer;
    }
    return timing;
  }

  void add(BenchRow& row, const Timing& timing, const MachineRates& rates) {
    const Bound bound = gpu_rates_
                            ? bound_of(model_.layout, plan_, *gpu_rates_, work_of(row))
                            : bound_of(model_.layout, plan_, rates, target_.link, work_of(row));
    const double seconds = timing.seconds;
    const auto tokens = static_cast<double>(tokens_of(row));
    row.speeds.push_back(tokens / seconds);
    row.limits.push_back(tokens / bound.seconds);
    row.fractions.push_back(bound.seconds / seconds);
    row.bound_by = bound.by;
    if (timing.overlap > 0.0) row.overlaps.push_back(timing.overlap);
    rates_.push_back(rates);
  }

  void add_cases(std::size_t tokens) {
    rows_.push_back({.name = "prefill", .tokens = tokens});
    for (const std::size_t sequences : options_.sequences) {
      const bool alone = sequences == 1;
      const std::size_t prompt = alone ? tokens : std::min(tokens, kBatchPromptTokens);
      const BenchRow row{
          .name = alone ? "decode" : "batch", .sequences = sequences, .tokens = prompt};
      const auto same = [&](const BenchRow& other) {
        return other.name == row.name && other.sequences == sequences && other.tokens == prompt;
      };
      if (std::ranges::none_of(rows_, same)) rows_.push_back(row);
    }
  }

  // A short prompt and a token, so that no case is the first to load its code.
  void touch() {
    loaded_->engine.truncate(0, 0);
    const std::size_t prompt = std::min<std::size_t>(std::ranges::min(options_.prompt_tokens), 64);
    extend(0, prompt);
    extend(0, prompt + 1);
  }

  // Only the first sequence has a long prompt, and so needs much of the cache.
  std::size_t cache_tokens(std::size_t longest) const {
    if (options_.on.context_tokens) return 0;
    const std::size_t others = most_sequences() - 1;
    const std::size_t prompt = std::min(longest_prompt(), kBatchPromptTokens);
    return align_up(longest, kPageTokens) +
           others * align_up(prompt + options_.max_tokens, kPageTokens);
  }

  // That are timed.
  std::size_t tokens_of(const BenchRow& row) const {
    return row.name == "prefill" ? row.tokens : options_.max_tokens * row.sequences;
  }

  PassWork work_of(const BenchRow& row) const {
    if (row.name == "prefill") {
      return {.passes = ceil_div(row.tokens, plan_.segment_tokens),
              .sequences = 1,
              .tokens = row.tokens,
              .first_key = 0,
              .logits = 1};
    }
    return {.passes = options_.max_tokens,
            .sequences = row.sequences,
            .tokens = options_.max_tokens,
            .first_key = row.tokens,
            .logits = options_.max_tokens * row.sequences};
  }

  Timing prefill(const BenchRow& row) {
    loaded_->engine.truncate(0, 0);
    return time([&] { extend(0, row.tokens); });
  }

  // What the sequences have cached of their prompts, of this case or another, is kept.
  Timing generate(const BenchRow& row) {
    for (std::size_t s = 0; s < row.sequences; ++s) {
      loaded_->engine.truncate(s, std::min(loaded_->engine.length(s), row.tokens));
      extend(s, row.tokens);
    }
    std::vector<Token> tokens(row.sequences);
    std::vector<Feed> feeds;
    for (std::size_t s = 0; s < row.sequences; ++s) feeds.push_back({s, {&tokens[s], 1}});
    return time([&] {
      for (std::size_t i = 0; i < options_.max_tokens; ++i) {
        for (std::size_t s = 0; s < row.sequences; ++s) tokens[s] = token_at(s, row.tokens + i);
        loaded_->engine.feed(feeds);
      }
    });
  }

  void extend(std::size_t sequence, std::size_t length) {
    std::vector<Token> tokens;
    for (std::size_t i = loaded_->engine.length(sequence); i < length; ++i) {
      tokens.push_back(token_at(sequence, i));
    }
    const Feed feed{sequence, tokens};
    if (!tokens.empty()) loaded_->engine.feed({&feed, 1});
  }

  // Any tokens will do; sampling isn't part of what is measured.
  Token token_at(std::size_t sequence, std::size_t position) const {
    return static_cast<Token>((position * 7919 + sequence * 104729) % model_.layout.config.vocab);
  }

  const BenchOptions& options_;
  const OpenModel& model_;
  std::optional<GpuRates> gpu_rates_;
  std::optional<GivenPlan> given_;
  Target target_;
  Plan plan_;
  std::optional<LoadedModel> loaded_;
  std::vector<BenchRow> rows_;
  std::optional<MachineMeter> meter_;  // none: a GPU computes
  std::vector<MachineRates> rates_;    // as measured before each case
};

// The model's name, and itself in memory if it is a shape.
struct BenchModel {
  BenchModel(const BenchOptions& options, const std::atomic<bool>* stop) {
    const ModelShape* shape = find_shape(options.on.model);
    std::filesystem::path path = options.on.model;
    if (shape != nullptr) {
      ProgressBar bar("drawing weights", true, options.quiet);
      const std::size_t layers =
          options.drawn_layers > 0 ? options.drawn_layers : SyntheticModel::kAllLayers;
      memory.emplace(SyntheticModel(*shape, parse_weights(options.weights), 1, layers),
                     bar.updater(), stop);
      path = memory->path();
    }
    open.emplace(path, shape != nullptr ? Overlaps::kAllowed : Overlaps::kRefused);
    name = shape != nullptr ? std::string(shape->name) : path.filename().string();
  }

  std::optional<MemoryModel> memory;
  std::optional<OpenModel> open;
  std::string name;
};

}  // namespace

int bench_command(const BenchOptions& options) try {
  if (!options.isa.empty()) force_isa(options.isa);
  const std::atomic<bool>& interrupted = interrupt_on_ctrl_c();
  BenchMachine machine = describe_machine();
  if (options.on.threads > 0) machine.threads = options.on.threads;
  const BenchModel model(options, &interrupted);
  Bench bench(options, *model.open, &interrupted);
  {
    ProgressBar bar("measuring", false, options.quiet);
    bench.run(bar);
  }
  bench.describe(machine);
  const std::string_view weights = main_type(model.open->layout);
  std::cout << print_bench(machine, bench.rows(), model.name, weights) << std::flush;
  if (!options.json_file.empty()) {
    write_file(options.json_file, print_bench_json(machine, bench.rows(), model.name, weights));
  }
  return 0;
} catch (const Interrupted&) {
  return kExitInterrupted;
}

}  // namespace sluice
