// How busy the disk is kept by passes over weights larger than host memory.
//
//   sluice_bench_disk MODEL VRAM RAM [ROUNDS]
//
// Each round reads as many bytes of the file as a few passes do, one behind the other and past the
// page cache, then runs those passes, then the same with reads that bring nothing and take no time;
// a disk that is shared changes by the second. Told as the bytes a second that passes read over
// those of the plain reads, with and without a disk to wait for, medians of the rounds, and what is
// busy meanwhile, cores too: reading, packing and copying take time of theirs. Exit code 1 if
// passes are below 0.90 and would not be without waiting for the disk: then it isn't others that
// bind.

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

// Reads that are through as soon as they are given, whatever is in their memory.
class NoReads final : public ReadQueue {
 public:
  static std::unique_ptr<ReadQueue> make(std::size_t) { return std::make_unique<NoReads>(); }
  std::string_view name() const override { return "none"; }
  void submit(const FileRead& read, std::size_t tag) override {
    given_.push_back({tag, static_cast<ssize_t>(read.size_bytes)});
  }
  Done wait() override {
    const Done done = given_.back();
    given_.pop_back();
    return done;
  }

 private:
  std::vector<Done> given_;
};

// What a few passes over one token took.
struct Run {
  double bytes_per_second;
  double disk_seconds, link_seconds, compute_seconds;  // of them, that each was busy
  double cores;                                        // the share of them that was busy
};

class Passes {
 public:
  Passes(const ModelFile& file, const ModelLayout& layout, const Plan& plan, MakeReadQueue queue)
      : device_({.limit_bytes = plan.bytes.total()}),
        engine_(file, layout, plan, device_, ops_, {.make_read_queue = queue}) {}

  Run run() {
    engine_.truncate(0, 0);
    pass();  // what was read ahead meanwhile cost no time
    const EngineCounters last = engine_.counters();
    const std::size_t bytes = engine_.disk_bytes();
    const double cpu_begin = process_cpu_seconds();
    const double begin = now_seconds();
    for (std::size_t i = 0; i < kPasses; ++i) pass();
    const double seconds = now_seconds() - begin;
    const double cpu_seconds = process_cpu_seconds() - cpu_begin;
    const EngineCounters now = engine_.counters();
    return {.bytes_per_second = static_cast<double>(engine_.disk_bytes() - bytes) / seconds,
            .disk_seconds = now.disk_seconds - last.disk_seconds,
            .link_seconds = now.copy_seconds - last.copy_seconds,
            .compute_seconds = now.compute_seconds - last.compute_seconds,
            .cores = cpu_seconds / seconds / std::thread::hardware_concurrency()};
  }

 private:
  void pass() {
    const std::int32_t token = 5;
    const Feed feed{0, {&token, 1}};
    engine_.feed({&feed, 1});
  }

  DeviceSim device_;
  OpsCpu ops_;
  Engine engine_;
};

bool bench(const ModelFile& file, const ModelLayout& layout, const PlanLimits& limits, int rounds) {
  const Workload workload{.prompt_tokens = 1, .max_tokens = 64, .context_tokens = 512};
  Hardware hardware = probe_host(layout, default_precision(layout), {}, {});
  hardware.disk = probe_disk(file);
  const Plan plan = make_plan(layout, workload, limits, hardware);
  Passes passes(file, layout, plan, ReadQueue::make);
  Passes without(file, layout, plan, NoReads::make);
  PlainReads plain(file.file(0));
  const std::size_t pass_bytes = plan.disk_bytes(layout);
  std::printf("%s on the disk of %s, %zu buffers of %s; reads %s the page cache\n",
              print_bytes(pass_bytes).c_str(), print_bytes(layout.units_bytes()).c_str(),
              plan.disk_buffers, print_bytes(plan.disk_buffer_bytes).c_str(),
              plain.past_cache() ? "past" : "through");
  std::vector<double> shares;
  std::vector<double> shares_without;
  for (int round = 0; round < rounds; ++round) {
    const double alone = plain.rate(kPasses * pass_bytes / kReadBytes);
    const Run run = passes.run();
    const Run bare = without.run();
    shares.push_back(run.bytes_per_second / alone);
    shares_without.push_back(bare.bytes_per_second / alone);
    std::printf(
        "  plain reads %s, passes %s: %.2f; busy: disk %.3f s, link %.3f s, device %.3f s, cores "
        "%.0f %%; without reads %s: %.2f\n",
        print_rate(alone).c_str(), print_rate(run.bytes_per_second).c_str(), shares.back(),
        run.disk_seconds, run.link_seconds, run.compute_seconds, 100.0 * run.cores,
        print_rate(bare.bytes_per_second).c_str(), shares_without.back());
  }
  std::printf("median share %.2f, without waiting for the disk %.2f\n", median(shares),
              median(shares_without));
  return median(shares) >= 0.90 || median(shares_without) < 0.90;
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
