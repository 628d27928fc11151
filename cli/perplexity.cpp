#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/prompt.h"
#include "cli/session.h"
#include "cli/tokenizer.h"
#include "layers/logits_summary.h"
#include "memory/clock.h"
#include "memory/error.h"

namespace sluice {
namespace {

constexpr std::size_t kWindowTokens = 512;   // unless --ctx says otherwise
constexpr std::size_t kSegmentTokens = 128;  // unless --segment does: every token has its logits

// Sum and sum of squares of what tokens cost, in nats.
struct Costs {
  std::size_t count = 0;
  double sum = 0.0;
  double squares = 0.0;

  void add(double cost) {
    ++count;
    sum += cost;
    squares += cost * cost;
  }
  double mean() const { return sum / static_cast<double>(count); }
  // Of the mean.
  double standard_error() const {
    const double variance = squares / static_cast<double>(count) - mean() * mean();
    return std::sqrt(std::max(variance, 0.0) / static_cast<double>(count));
  }
};

// Each window is a sequence of its own; every token of it but the first is predicted.
Costs score_windows(Engine& engine, std::span<const Token> tokens, std::size_t window_tokens,
                    bool quiet) {
  Costs costs;
  ProgressBar bar("scoring", false, quiet);
  for (std::size_t begin = 0; begin + 1 < tokens.size(); begin += window_tokens) {
    const auto window = tokens.subspan(begin, std::min(window_tokens, tokens.size() - begin));
    engine.truncate(0, 0);
    const Feed feed{0, window};
    engine.score({&feed, 1}, [&](std::size_t, std::size_t at, const LogitsSummary& row) {
      if (at + 1 < window.size()) costs.add(-log_probability(row));
    });
    bar.update(begin + window.size(), tokens.size());
  }
  return costs;
}

}  // namespace

int perplexity_command(const PerplexityOptions& options) {
  const OpenModel model(options.on.model);
  const std::string content = read_text(options.file);
  const std::vector<Token> tokens =
      options.ids ? parse_ids(content)
                  : Tokenizer::make(model.file)->encode(content, {.parse_special = false});
  if (tokens.size() < 2)
    throw Error(ErrorKind::kUsage, text(options.file, ": fewer than 2 tokens"));

  const std::size_t window = options.on.context_tokens.value_or(kWindowTokens);
  if (window < 2) throw Error(ErrorKind::kUsage, "--ctx must be 2 or more: one token predicts one");
  Target target = choose_target(options.on, model.layout);
  if (!target.limits.segment_tokens) {
    target.limits.segment_tokens = std::min(window, kSegmentTokens);
  }
  const Workload workload{
      .prompt_tokens = window, .max_tokens = 1, .context_tokens = window, .all_logits = true};
  const Plan plan = plan_for(model, workload, target);
  ProgressBar bar("loading", true, options.quiet);
  EngineOptions engine_options;
  engine_options.on_load = bar.updater();
  LoadedModel loaded(model, plan, target, engine_options);
  bar.finish();

  const double begin_seconds = now_seconds();
  const Costs costs = score_windows(loaded.engine, tokens, window, options.quiet);
  const double seconds = now_seconds() - begin_seconds;
  const double perplexity = std::exp(costs.mean());
  std::printf("%.4f +- %.4f  perplexity\n", perplexity, perplexity * costs.standard_error());
  std::printf("%.6f  nats a token, %zu tokens predicted in windows of %zu\n", costs.mean(),
              costs.count, window);
  if (options.quiet) return 0;
  std::fprintf(stderr, "%zu tokens in %.1f s, %.0f tokens/s\n", tokens.size(), seconds,
               static_cast<double>(tokens.size()) / seconds);
  return 0;
}

}  // namespace sluice
