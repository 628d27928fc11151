// How busy the disk is kept by passes over weights larger than host memory.
//
//   sluice_bench_disk MODEL VRAM RAM [ROUNDS]
//
// Each round reads as many bytes of the file as a few passes do, one behind the other and past the
// page cache, then runs those passes; a disk that is shared changes by the second. Told as the
// bytes a second that passes read over those of the plain reads, the median of the rounds, and what
// is busy meanwhile, cores too: reading, packing and copying take time of theirs. Exit code 1 if
// that is below 0.90 and neither link, computation nor cores (at nine tenths) bind.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "layers/ops_cpu.h"
#include "memory/clock.h"
#include "memory/device_sim.h"
#include "memory/direct_file.h"
#include "memory/error.h"
#include "memory/read_queue.h"
#include "memory/units.h"
#include "offload/budgeter.h"
#include "offload/disk_probe.h"
#include "offload/engine.h"
#include "offload/probe.h"

namespace {

using namespace sluice;

constexpr std::size_t kReadBytes = 1_MiB;
constexpr std::size_t kInFlight = 8;
constexpr std::size_t kPasses = 4;

class PlainReads {
 public:
  explicit PlainReads(const MappedFile& file)
      : file_(file), memory_(kInFlight * kReadBytes), queue_(ReadQueue::make(kInFlight)) {}

  // Bytes a second of some MiB, from where the last call ended.
  double rate(std::size_t reads) {
    const double begin = now_seconds();
    for (std::size_t i = 0; i < reads + kInFlight; ++i) {
      if (i >= kInFlight) queue_->wait();
      if (i >= reads) continue;
      if (at_ + kReadBytes > file_.file().bytes().size()) at_ = 0;
      queue_->submit(
          {file_.descriptor(), at_, memory_.data() + i % kInFlight * kReadBytes, kReadBytes}, 0);
      at_ += kReadBytes;
    }
    return static_cast<double>(reads * kReadBytes) / (now_seconds() - begin);
  }
  bool past_cache() const { return file_.past_cache(); }

 private:
  DirectFile file_;
  HostStore memory_;
  std::unique_ptr<ReadQueue> queue_;
  std::size_t at_ = 0;
};

bool bench(const ModelFile& file, const ModelLayout& layout, const PlanLimits& limits, int rounds) {
  const Workload workload{.prompt_tokens = 1, .max_tokens = 64, .context_tokens = 512};
  Hardware hardware = probe_host(layout, default_precision(layout), {}, {});
  hardware.disk = probe_disk(file);
  const Plan plan = make_plan(layout, workload, limits, hardware);
  DeviceSim device({.limit_bytes = *limits.device_bytes});
  OpsCpu ops;
  Engine engine(file, layout, plan, device, ops, {});
  PlainReads plain(file.file(0));
  std::printf("%s on the disk of %s, %zu buffers of %s; reads %s the page cache\n",
              print_bytes(plan.disk_bytes(layout)).c_str(),
              print_bytes(layout.units_bytes()).c_str(), plan.disk_buffers,
              print_bytes(plan.disk_buffer_bytes).c_str(), plain.past_cache() ? "past" : "through");
  std::vector<double> shares;
  const std::int32_t token = 5;
  const Feed feed{0, {&token, 1}};
  engine.feed({&feed, 1});
  EngineCounters last = engine.counters();
  bool other_binds = false;
  for (int round = 0; round < rounds; ++round) {
    const std::size_t pass_bytes = plan.disk_bytes(layout);
    const double alone = plain.rate(kPasses * pass_bytes / kReadBytes);
    engine.truncate(0, 1);
    engine.feed({&feed, 1});  // what was read ahead meanwhile cost no time
    last = engine.counters();
    const std::size_t bytes = engine.disk_bytes();
    const double cpu_begin = process_cpu_seconds();
    const double begin = now_seconds();
    for (std::size_t pass = 0; pass < kPasses; ++pass) engine.feed({&feed, 1});
    const double seconds = now_seconds() - begin;
    const double rate = static_cast<double>(engine.disk_bytes() - bytes) / seconds;
    const double cores =
        (process_cpu_seconds() - cpu_begin) / seconds / std::thread::hardware_concurrency();
    const EngineCounters now = engine.counters();
    const double disk = now.disk_seconds - last.disk_seconds;
    const double link = now.copy_seconds - last.copy_seconds;
    const double compute = now.compute_seconds - last.compute_seconds;
    other_binds = other_binds || std::max(link, compute) > disk || cores > 0.9;
    shares.push_back(rate / alone);
    std::printf(
        "  passes %s, plain reads %s: %.2f; busy: disk %.3f s, link %.3f s, device %.3f s, cores "
        "%.0f %%\n",
        print_rate(rate).c_str(), print_rate(alone).c_str(), rate / alone, disk, link, compute,
        100.0 * cores);
  }
  std::printf("median share %.2f\n", median(shares));
  return median(shares) >= 0.90 || other_binds;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: sluice_bench_disk MODEL VRAM RAM [ROUNDS]\n");
    return 2;
  }
  try {
    const ModelFile file = ModelFile::open(argv[1]);
    const ModelLayout layout = describe_model(file);
    PlanLimits limits;
    limits.device_bytes = parse_bytes(argv[2], "VRAM");
    limits.host_bytes = parse_bytes(argv[3], "RAM");
    return bench(file, layout, limits, argc > 4 ? std::atoi(argv[4]) : 7) ? 0 : 1;
  } catch (const Error& error) {
    std::fprintf(stderr, "sluice_bench_disk: %s\n", error.what());
    return 1;
  }
}
