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

}  // namespace

SweepMeasured measure_plan(const OpenModel& model, const Plan& plan, const Target& target,
                           std::size_t repeats, const std::atomic<bool>* stop) {
  EngineOptions options;
  options.stop = stop;
  LoadedModel loaded(model, plan, target, options);
  return Measurement(loaded.engine, plan.workload, model.layout.config.vocab).run(repeats);
}

}  // namespace sluice
