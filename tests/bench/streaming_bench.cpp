// How well copies and computation overlap, and how well the simulated link keeps its pace.
//
//   sluice_bench_streaming MODEL [ROUNDS]
//
// Overlap: a prompt's passes with every layer streamed, over a link on which copying alone takes as
// long as computing alone. Told as the time of the passes over the longer of the two, medians of
// interleaved rounds; with one slot nothing can overlap. Exit code 1 if the ratio is above 1.10, or
// if one slot doesn't show that the check can fail.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "layers/ops_cpu.h"
#include "memory/clock.h"
#include "memory/device_sim.h"
#include "memory/error.h"
#include "memory/units.h"
#include "offload/engine.h"

namespace {

using namespace sluice;

constexpr std::size_t kSegmentTokens = 512;
constexpr std::size_t kPasses = 3;

// All layers streamed through `slots` slots of a unit each, or all resident with none. The head is
// resident either way: it is computed for one token of hundreds, and there is nothing to hide its
// copy behind.
Plan make_test_plan(const ModelLayout& layout, std::size_t slots) {
  Plan plan;
  plan.workload = {.prompt_tokens = kPasses * kSegmentTokens,
                   .max_tokens = 1,
                   .context_tokens = kPasses * kSegmentTokens};
  plan.segment_tokens = kSegmentTokens;
  const ModelConfig& c = layout.config;
  plan.kv = {.layers = c.layers,
             .kv_heads = c.kv_heads,
             .head_dim = c.head_dim,
             .pages = ceil_div(plan.workload.context_tokens, kPageTokens)};
  plan.slots = slots;
  plan.placement.assign(layout.units.size(), slots > 0 ? Placement::kHost : Placement::kResident);
  plan.placement.back() = Placement::kResident;
  for (const UnitInfo& unit : layout.units) {
    if (slots > 0 && unit.kind != UnitKind::kHead) {
      plan.slot_bytes = std::max(plan.slot_bytes, align_up(unit.size_bytes));
    }
  }
  count_bytes(layout, plan);
  return plan;
}

struct Bench {
  Bench(const ModelFile& file, const ModelLayout& layout, std::size_t slots, LinkSpeed link)
      : plan(make_test_plan(layout, slots)),
        device({.to_device = link, .to_host = link}),
        engine(file, layout, plan, device, ops, {}) {}

  double prompt_seconds() {
    static const std::vector<std::int32_t> tokens(kPasses * kSegmentTokens, 100);
    engine.truncate(0, 0);
    const Feed feed{0, tokens};
    const double begin = now_seconds();
    engine.feed({&feed, 1});
    return now_seconds() - begin;
  }

  Plan plan;
  DeviceSim device;
  OpsCpu ops;
  Engine engine;
};

bool bench_overlap(const ModelFile& file, const ModelLayout& layout, int rounds) {
  Bench resident(file, layout, 0, {});
  resident.prompt_seconds();
  std::vector<double> computing;
  for (int i = 0; i < 3; ++i) computing.push_back(resident.prompt_seconds());
  const double streamed_bytes = static_cast<double>(
      kPasses * make_test_plan(layout, 1).streamed_bytes(layout, kSegmentTokens));
  const LinkSpeed link{.bytes_per_second = streamed_bytes / median(computing)};
  std::printf("overlap: %zu passes of %zu tokens, %s streamed a pass at %s\n", kPasses,
              kSegmentTokens,
              print_bytes(make_test_plan(layout, 1).streamed_bytes(layout, kSegmentTokens)).c_str(),
              print_rate(link.bytes_per_second).c_str());

  const std::size_t slot_counts[] = {1, 2, 3};
  std::vector<std::unique_ptr<Bench>> streamed;
  for (const std::size_t slots : slot_counts) {
    streamed.push_back(std::make_unique<Bench>(file, layout, slots, link));
    streamed.back()->prompt_seconds();
  }
  std::vector<double> ratios[3];
  for (int round = 0; round < rounds; ++round) {
    const double before = resident.prompt_seconds();
    double seconds[3];
    for (std::size_t i = 0; i < 3; ++i) seconds[i] = streamed[i]->prompt_seconds();
    const double alone = 0.5 * (before + resident.prompt_seconds());
    const double longer = std::max(alone, streamed_bytes / link.bytes_per_second);
    for (std::size_t i = 0; i < 3; ++i) ratios[i].push_back(seconds[i] / longer);
  }
  for (std::size_t i = 0; i < 3; ++i) {
    const auto [least, most] = std::minmax_element(ratios[i].begin(), ratios[i].end());
    std::printf("  %zu slot%s  %.3f of the longer of copying and computing (%.3f..%.3f)\n",
                slot_counts[i], slot_counts[i] == 1 ? " " : "s", median(ratios[i]), *least, *most);
  }
  return std::min(median(ratios[1]), median(ratios[2])) <= 1.10 && median(ratios[0]) >= 1.5;
}

// Copies one behind the other, and one at a time.
void bench_pace(double bytes_per_second, std::size_t bytes) {
  constexpr int kCopies = 30;
  const LinkSpeed speed{.bytes_per_second = bytes_per_second, .latency_seconds = 10e-6};
  DeviceSim device({.to_device = speed});
  auto stream = device.make_stream("pace");
  auto done = device.make_event();
  std::vector<std::byte> from(bytes), to(bytes);
  const auto copy = [&] {
    device.copy(*stream, Direction::kToDevice, to.data(), from.data(), bytes);
    stream->record(*done);
  };
  const double wanted = speed.latency_seconds + static_cast<double>(bytes) / bytes_per_second;
  copy();
  done->synchronize();
  double begin = now_seconds();
  for (int i = 0; i < kCopies; ++i) copy();
  done->synchronize();
  const double queued = (now_seconds() - begin) / kCopies;
  std::vector<double> single;
  for (int i = 0; i < kCopies; ++i) {
    begin = now_seconds();
    copy();
    done->synchronize();
    single.push_back(now_seconds() - begin);
  }
  std::printf("  %8s at %9s  queued %+.2f %%  one at a time %+.2f %%\n", print_bytes(bytes).c_str(),
              print_rate(bytes_per_second).c_str(), 100.0 * (queued / wanted - 1.0),
              100.0 * (median(single) / wanted - 1.0));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s MODEL [ROUNDS]\n", argv[0]);
    return 2;
  }
  try {
    std::printf("pace: time of copies on the simulated link, more or less than asked for\n");
    for (const double rate : {0.5e9, 2e9, 5e9}) {
      for (const std::size_t bytes : {1_MiB, 4_MiB, 16_MiB}) bench_pace(rate, bytes);
    }
    const ModelFile file = ModelFile::open(argv[1]);
    const ModelLayout layout = describe_model(file);
    return bench_overlap(file, layout, argc > 2 ? std::atoi(argv[2]) : 7) ? 0 : 1;
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
