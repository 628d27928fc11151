// Passes of 1 to 256 tokens with nothing resident, by the routes that the budgeter chose, and by
// those of others: everything streamed, all feed-forward units computed by the host, and the host
// for passes of fewer than 32 tokens.
//
//   sluice_bench_routes [--svg FILE] [ROUNDS]
//
// The link carries what the host reads, so that both together have twice the rate; and the host
// computes such that it keeps that rate up to 16 tokens a pass. Medians of interleaved rounds. Exit
// code 1 if the chosen routes are slower anywhere, if one token takes more than 0.6 of the time of
// copying everything, or if the gain over the best of the others is below 1.3 everywhere.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "cli/chart.h"
#include "cli/memory_model.h"
#include "cli/output_file.h"
#include "layers/ops_cpu.h"
#include "memory/clock.h"
#include "memory/device_sim.h"
#include "memory/units.h"
#include "offload/budgeter.h"
#include "offload/cost_model.h"
#include "offload/engine.h"
#include "offload/probe.h"

namespace {

using namespace sluice;

constexpr ModelShape kShape{"bench", 12, 768, 3072, 12, 4, 512, 4096, 1e4f, false};
constexpr double kBytesPerSecond = 0.4e9;                        // of the link, and of the host
constexpr double kHostOperations = 16 * 3.56 * kBytesPerSecond;  // Q4_0 has 3.56 a byte and token
constexpr std::size_t kMostTokens = 256;
constexpr std::size_t kContextTokens = 64;
constexpr std::size_t kThreshold = 32;
constexpr std::size_t kPolicies = 4;
constexpr std::array<const char*, kPolicies> kNames = {
    "chosen routes", "all streamed", "host: all feed-forward units", "host below 32 tokens"};

std::vector<Route> routes_of(std::size_t policy, const Plan& chosen, const ModelLayout& layout) {
  if (policy == 0) return chosen.routes;
  if (policy == 1) return {};
  Route route{.tokens = policy == 2 ? kMostTokens : kThreshold - 1,
              .by_host = std::vector<bool>(layout.units.size())};
  for (std::size_t u = 0; u < layout.units.size(); ++u) {
    route.by_host[u] = layout.units[u].kind == UnitKind::kFeedForward;
  }
  return {route};
}

class Runner {
 public:
  Runner(const ModelFile& file, const ModelLayout& layout, const Plan& plan,
         const EngineOptions& options)
      : device_({.to_device = kLink, .to_host = kLink}),
        engine_(file, layout, plan, device_, ops_, options) {}

  static constexpr LinkSpeed kLink{.bytes_per_second = kBytesPerSecond, .latency_seconds = 5e-6};

  // Of one token of each of `tokens` sequences: the median of half a second of passes, the first
  // not counted, which finds its slots full.
  double pass_seconds(std::size_t tokens) {
    static const std::int32_t token = 7;
    std::vector<Feed> feeds;
    for (std::size_t s = 0; s < tokens; ++s) feeds.push_back({s, {&token, 1}});
    engine_.feed(feeds);
    std::vector<double> seconds;
    for (double end = now_seconds() + 0.5; seconds.empty() || now_seconds() < end;) {
      const double begin = now_seconds();
      engine_.feed(feeds);
      seconds.push_back(now_seconds() - begin);
    }
    for (std::size_t s = 0; s < tokens; ++s) engine_.truncate(s, 0);
    return median(seconds);
  }

 private:
  DeviceSim device_;
  OpsCpu ops_;
  Engine engine_;
};

std::string picture(const std::vector<std::size_t>& sizes,
                    const std::array<std::vector<double>, kPolicies>& seconds, double bytes) {
  constexpr std::array<const char*, kPolicies> kColours = {palette::kBlue, palette::kOrange,
                                                           palette::kGreen, palette::kPurple};
  Chart chart{.title = "Passes of 1 to 256 tokens, nothing resident",
              .subtitle =
                  "link and host memory 0.4 GB/s each, host arithmetic enough for 16 tokens "
                  "a pass at that rate; sim, medians",
              .x_title = "tokens in a pass",
              .y_title = "weights worked through, GB/s",
              .x_doubles = true};
  for (std::size_t p = 0; p < kPolicies; ++p) {
    Series series{.name = kNames[p], .colour = kColours[p], .dashed = p > 0, .marks = p == 0};
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      series.points.push_back({static_cast<double>(sizes[i]), 1e-9 * bytes / seconds[p][i]});
    }
    chart.series.push_back(std::move(series));
  }
  return draw_chart(chart);
}

}  // namespace

int main(int argc, char** argv) {
  std::string svg_file;
  std::size_t rounds = 3;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--svg") == 0 && i + 1 < argc) {
      svg_file = argv[++i];
    } else {
      rounds = std::max(1, std::atoi(argv[i]));
    }
  }
  const MemoryModel memory(SyntheticModel(kShape, parse_weights("q4_0"), 1), {}, nullptr);
  const ModelFile file = ModelFile::open(memory.path());
  const ModelLayout layout = describe_model(file);
  const ComputePace pace{.bytes_per_second = kBytesPerSecond,
                         .operations_per_second = kHostOperations};
  Hardware hardware = probe_host(layout, Precision::kNormal, Runner::kLink, {});
  hardware.host.pace = pace;
  // Planned for one sequence at a time, then given room for passes of more.
  Plan chosen = make_plan(layout, {.prompt_tokens = 1, .max_tokens = 256},
                          {.segment_tokens = kMostTokens,
                           .precision = Precision::kNormal,
                           .host_computes = true,
                           .resident_units = 0},
                          hardware);
  chosen.workload = {.sequences = kMostTokens, .context_tokens = kContextTokens};
  chosen.kv.pages = chosen.workload.cache_pages();
  count_bytes(layout, chosen);
  std::array<std::unique_ptr<Runner>, kPolicies> runners;
  for (std::size_t p = 0; p < kPolicies; ++p) {
    Plan plan = chosen;
    plan.routes = routes_of(p, chosen, layout);
    EngineOptions options;
    options.host_pace = pace;
    runners[p] = std::make_unique<Runner>(file, layout, plan, options);
  }
  const double bytes = static_cast<double>(layout.units_bytes());
  std::printf("%s of weights, %zu units, %zu slots of %s; seconds a pass\ntokens",
              print_bytes(layout.units_bytes()).c_str(), layout.units.size(), chosen.slots,
              print_bytes(chosen.slot_bytes).c_str());
  for (const char* name : kNames) std::printf("  %s", name);
  std::printf("  by host  gain\n");
  std::vector<std::size_t> sizes;
  std::array<std::vector<double>, kPolicies> seconds;
  bool never_slower = true;
  double best_gain = 0.0;
  for (std::size_t tokens = 1; tokens <= kMostTokens; tokens *= 2) {
    std::array<std::vector<double>, kPolicies> measured;
    for (std::size_t round = 0; round < rounds; ++round) {
      for (std::size_t p = 0; p < kPolicies; ++p) {
        measured[p].push_back(runners[p]->pass_seconds(tokens));
      }
    }
    sizes.push_back(tokens);
    for (std::size_t p = 0; p < kPolicies; ++p) seconds[p].push_back(median(measured[p]));
    const double others = std::min({seconds[1].back(), seconds[2].back(), seconds[3].back()});
    const double gain = others / seconds[0].back();
    std::printf("%6zu", tokens);
    for (std::size_t p = 0; p < kPolicies; ++p) {
      std::printf("  %*.4f", static_cast<int>(std::strlen(kNames[p])), seconds[p].back());
    }
    const double predicted = predict_pass_seconds(layout, chosen, make_schedule(layout, chosen),
                                                  hardware, {tokens, 1, tokens, tokens});
    std::printf("  %7zu  %.2f  %.4f predicted\n", chosen.host_units(tokens), gain, predicted);
    never_slower = never_slower && gain >= 0.98;
    best_gain = std::max(best_gain, gain);
  }
  const double of_copying = seconds[0].front() / (bytes / kBytesPerSecond);
  std::printf("one token: %.3f of the time of copying everything (at most 0.6)\n", of_copying);
  std::printf("best gain over the best of the others: %.2f (at least 1.3)\n", best_gain);
  if (!svg_file.empty()) write_file(svg_file, picture(sizes, seconds, bytes));
  return never_slower && of_copying <= 0.6 && best_gain >= 1.3 ? 0 : 1;
}
