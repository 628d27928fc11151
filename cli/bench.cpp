#include <algorithm>
#include <array>
#include <iostream>
#include <map>
#include <optional>

#include "cli/bench_report.h"
#include "cli/commands.h"
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
      : options_(options), model_(model), target_(choose_target(options.on, model.layout)) {
    const std::size_t prompt = std::ranges::max(options.prompt_tokens);
    const std::size_t wanted = prompt + options.max_tokens;
    const Workload workload{.sequences = std::ranges::max(options.sequences),
                            .prompt_tokens = prompt,
                            .max_tokens = options.max_tokens,
                            .context_tokens = options.on.context_tokens.value_or(wanted)};
    if (workload.context_tokens < wanted) {
      throw Error(ErrorKind::kUsage,
                  text("--ctx ", workload.context_tokens, ": prompt and reply of ", wanted,
                       " tokens are to be measured"));
    }
    plan_ = plan_for(model.layout, workload, target_);
    ProgressBar bar("loading", true, options.quiet);
    EngineOptions engine_options;
    engine_options.on_load = [&bar](std::size_t done, std::size_t total) {
      bar.update(done, total);
    };
    engine_options.stop = stop;
    loaded_.emplace(model, plan_, target_, engine_options);
    for (const std::size_t tokens : options.prompt_tokens) add_cases(tokens);
  }

  void run(ProgressBar& bar) {
    std::size_t total = 0;
    for (const BenchRow& row : rows_) total += tokens_of(row);
    std::size_t done = 0;
    for (std::size_t round = 0; round <= options_.repeats; ++round) {
      for (BenchRow& row : rows_) {
        const MachineRates rates = meter_.measure();
        const double seconds = row.name == "prefill" ? prefill(row) : generate(row);
        if (round > 0) add(row, seconds, rates);  // the first round warms up
        bar.update(done += tokens_of(row), (options_.repeats + 1) * total);
      }
    }
  }

  const std::vector<BenchRow>& rows() const { return rows_; }
  MachineRates rates() const { return median_of(rates_); }
  Precision precision() const { return plan_.precision; }

 private:
  void add(BenchRow& row, double seconds, const MachineRates& rates) {
    const Bound bound = bound_of(model_.layout, plan_, rates, target_.link, work_of(row));
    const auto tokens = static_cast<double>(tokens_of(row));
    row.speeds.push_back(tokens / seconds);
    row.limits.push_back(tokens / bound.seconds);
    row.fractions.push_back(bound.seconds / seconds);
    row.bound_by = bound.by;
    rates_.push_back(rates);
  }

  void add_cases(std::size_t tokens) {
    rows_.push_back({.name = "prefill", .tokens = tokens});
    for (const std::size_t sequences : options_.sequences) {
      const bool alone = sequences == 1;
      const std::size_t prompt = alone ? tokens : std::min(tokens, kBatchPromptTokens);
      rows_.push_back(
          {.name = alone ? "decode" : "batch", .sequences = sequences, .tokens = prompt});
    }
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

  double prefill(const BenchRow& row) {
    loaded_->engine.truncate(0, 0);
    const double begin = now_seconds();
    extend(0, row.tokens);
    return now_seconds() - begin;
  }

  // What the sequences have cached of their prompts, of this case or another, is kept.
  double generate(const BenchRow& row) {
    for (std::size_t s = 0; s < row.sequences; ++s) {
      loaded_->engine.truncate(s, std::min(loaded_->engine.length(s), row.tokens));
      extend(s, row.tokens);
    }
    std::vector<Token> tokens(row.sequences);
    std::vector<Feed> feeds;
    for (std::size_t s = 0; s < row.sequences; ++s) feeds.push_back({s, {&tokens[s], 1}});
    const double begin = now_seconds();
    for (std::size_t i = 0; i < options_.max_tokens; ++i) {
      for (std::size_t s = 0; s < row.sequences; ++s) tokens[s] = token_at(s, row.tokens + i);
      loaded_->engine.feed(feeds);
    }
    return now_seconds() - begin;
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
  Target target_;
  Plan plan_;
  std::optional<LoadedModel> loaded_;
  std::vector<BenchRow> rows_;
  MachineMeter meter_;
  std::vector<MachineRates> rates_;  // as measured before each case
};

// The model's name, and itself in memory if it is a shape.
struct BenchModel {
  BenchModel(const BenchOptions& options, const std::atomic<bool>* stop) {
    const ModelShape* shape = find_shape(options.on.model);
    std::filesystem::path path = options.on.model;
    if (shape != nullptr) {
      ProgressBar bar("drawing weights", true, options.quiet);
      const auto progress = [&](std::size_t done, std::size_t total) { bar.update(done, total); };
      memory.emplace(SyntheticModel(*shape, parse_weights_type(options.weights), 1), progress,
                     stop);
      path = memory->path();
    }
    open.emplace(path);
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
  machine.rates = bench.rates();
  machine.precision = precision_name(bench.precision());
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
