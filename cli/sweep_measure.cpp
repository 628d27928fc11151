#include <algorithm>
#include <cstdint>

#include "cli/sweep.h"
#include "memory/clock.h"

namespace sluice {
namespace {

using Token = std::int32_t;

constexpr std::size_t kMostPasses = 16;    // of decoding, in one round
constexpr std::size_t kWarmUpTokens = 16;  // of a prompt that isn't timed

class Measurement {
 public:
  Measurement(Engine& engine, const Workload& workload, std::size_t vocab)
      : engine_(engine), workload_(workload), vocab_(vocab) {}

  SweepMeasured run(std::size_t repeats) {
    start_over();
    extend(std::min(workload_.prompt_tokens, kWarmUpTokens));
    std::vector<double> prefills;
    std::vector<double> passes;
    for (std::size_t round = 0; round < repeats; ++round) {
      start_over();
      prefills.push_back(extend(workload_.prompt_tokens));
      for (std::size_t i = 0; i < std::min(workload_.max_tokens, kMostPasses); ++i) {
        passes.push_back(extend(1));
      }
    }
    return {median(std::move(prefills)), median(std::move(passes))};
  }

 private:
  void start_over() {
    for (std::size_t s = 0; s < workload_.sequences; ++s) engine_.truncate(s, 0);
  }

  // Feeds every sequence so many tokens more; the seconds that takes. Any tokens will do.
  double extend(std::size_t count) {
    std::vector<std::vector<Token>> tokens(workload_.sequences);
    std::vector<Feed> feeds;
    for (std::size_t s = 0; s < workload_.sequences; ++s) {
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t position = engine_.length(s) + i;
        tokens[s].push_back(static_cast<Token>((position * 7919 + s * 104729) % vocab_));
      }
      feeds.push_back({s, tokens[s]});
    }
    const double begin = now_seconds();
    engine_.feed(feeds);
    return now_seconds() - begin;
  }

  Engine& engine_;
  const Workload& workload_;
  const std::size_t vocab_;
};

SweepSpeeds speeds(const SweepPoint& point, double prefill_seconds, double decode_pass_seconds) {
  const Workload& w = point.plan->workload;
  const auto sequences = static_cast<double>(w.sequences);
  const double reply_seconds = decode_pass_seconds * static_cast<double>(w.max_tokens - 1);
  return {.prefill_seconds = prefill_seconds,
          .decode_pass_seconds = decode_pass_seconds,
          .total_seconds = static_cast<double>(point.rounds) * (prefill_seconds + reply_seconds),
          .prefill_tokens_per_second =
              static_cast<double>(w.prompt_tokens) * sequences / prefill_seconds,
          .decode_tokens_per_second = sequences / decode_pass_seconds};
}

}  // namespace

SweepSpeeds predicted_speeds(const SweepPoint& point) {
  const Prediction& p = point.plan->predicted;
  return speeds(point, p.prefill_seconds, p.decode_pass_seconds);
}

std::optional<SweepSpeeds> measured_speeds(const SweepPoint& point) {
  if (!point.measured) return std::nullopt;
  return speeds(point, point.measured->prefill_seconds, point.measured->decode_pass_seconds);
}

SweepMeasured measure_plan(const OpenModel& model, const Plan& plan, const Target& target,
                           std::size_t repeats, const std::atomic<bool>* stop) {
  EngineOptions options;
  options.stop = stop;
  LoadedModel loaded(model, plan, target, options);
  return Measurement(loaded.engine, plan.workload, model.layout.config.vocab).run(repeats);
}

}  // namespace sluice
