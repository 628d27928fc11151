#include "memory/device_sim.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <random>
#include <vector>

#include "memory/arena.h"
#include "memory/clock.h"
#include "memory/host_stream.h"
#include "memory/units.h"
#include "tests/support/expect_error.h"

using namespace sluice;

namespace {

std::byte* bytes_of(std::vector<int>& values) {
  return reinterpret_cast<std::byte*>(values.data());
}

}  // namespace

TEST_CASE("device: memory is given to the byte, once it is known to fit") {
  DeviceSim device({.limit_bytes = 1000});
  const testing::Failure failure = testing::failure_of([&] { Arena(device, 1001); });
  CHECK(failure.kind == ErrorKind::kOverBudget);
  CHECK(failure.says("1000"));
  std::size_t seen = 0;
  DeviceSim watched({.limit_bytes = 1000, .on_reserve = [&](std::size_t n) { seen += n; }});
  const Arena arena(watched, 1000);
  CHECK(seen == 1000);
  CHECK(watched.reserved_bytes() == 1000);
}

TEST_CASE("arena: lends up to its limit in aligned parts, and not a byte more") {
  DeviceSim device({});
  Arena arena(device, 4 * kAlignBytes);
  std::byte* first = arena.lend(1, "a");
  std::byte* second = arena.lend(kAlignBytes + 1, "b");
  CHECK(second - first == kAlignBytes);
  CHECK(reinterpret_cast<std::uintptr_t>(second) % kAlignBytes == 0);
  CHECK(arena.lent_bytes() == 3 * kAlignBytes);
  CHECK(testing::failure_of([&] { arena.lend(kAlignBytes + 1, "pages"); }).says("pages"));
  CHECK(testing::failure_of([&] { arena.lend(static_cast<std::size_t>(-1), "x"); }).thrown);
  arena.lend(kAlignBytes, "c");
  CHECK(arena.lent_bytes() == arena.limit_bytes());
}

TEST_CASE("stream: nobody is left asleep, whenever the other side speaks" *
          doctest::test_suite("slow")) {
  // Each side works for a random moment, about as long as the other spins before it sleeps, so that
  // falling asleep and being woken meet often. A lost wake-up hangs here: once in a million rounds
  // where the count is stored with release order only.
  HostStream stream(HostStream::Mode::kThread);
  HostEvent event;
  std::minstd_rand random(20261121);
  const auto work = [](std::uint32_t steps) {
    for (std::uint32_t i = 0; i < steps; ++i) asm volatile("");
  };
  int rounds = 0;
  for (const double begin_seconds = now_seconds(); now_seconds() - begin_seconds < 8.0; ++rounds) {
    stream.enqueue([work, steps = random() % 9000] { work(static_cast<std::uint32_t>(steps)); });
    stream.record(event);
    work(static_cast<std::uint32_t>(random() % 9000));
    event.synchronize();
  }
  CHECK(rounds > 1000);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_CASE("device: a write behind the last byte is a fault") {
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);  // doctest's handler would tell of it
    DeviceSim device({});
    volatile std::byte* memory = device.reserve(3 * kAlignBytes);
    memory[3 * kAlignBytes - 1] = std::byte{1};
    memory[3 * kAlignBytes] = std::byte{1};
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGSEGV);
}
#endif

TEST_CASE("streams: work is done in order, and after the events that it waits for") {
  for (const bool in_place : {false, true}) {
    CAPTURE(in_place);
    DeviceSim device({.in_place = in_place});
    auto first = device.make_stream("first");
    auto second = device.make_stream("second");
    auto ready = device.make_event();
    auto back = device.make_event();
    // Two streams pass one number to and fro; each adds where the other has been.
    std::vector<int> log;
    log.reserve(4000);
    auto* list = &log;
    for (int i = 0; i < 1000; ++i) {
      first->wait(*back);
      static_cast<HostStream&>(*first).enqueue([=] { list->push_back(2 * i); });
      first->record(*ready);
      second->wait(*ready);
      static_cast<HostStream&>(*second).enqueue([=] { list->push_back(2 * i + 1); });
      second->record(*back);
    }
    back->synchronize();
    CHECK(log.size() == 2000);
    for (std::size_t i = 0; i < log.size(); ++i) CHECK(log[i] == static_cast<int>(i));
  }
}

TEST_CASE("streams: copies guarded by events through a small ring lose and mix up nothing") {
  std::mt19937 random(5);
  for (const std::size_t slots : {1, 2, 3}) {
    DeviceSim device({});
    auto up = device.make_stream("up");
    auto compute = device.make_stream("compute");
    std::vector<std::vector<int>> ring(slots, std::vector<int>(256));
    std::vector<std::unique_ptr<Event>> ready(slots);
    std::vector<std::unique_ptr<Event>> free(slots);
    for (auto& e : ready) e = device.make_event();
    for (auto& e : free) e = device.make_event();
    std::vector<std::vector<int>> sources(500, std::vector<int>(256));
    for (auto& source : sources) {
      for (int& v : source) v = static_cast<int>(random() % 1000);
    }
    std::vector<long> sums(sources.size());
    for (std::size_t i = 0; i < sources.size(); ++i) {
      const std::size_t s = i % slots;
      up->wait(*free[s]);
      device.copy(*up, Direction::kToDevice, bytes_of(ring[s]), bytes_of(sources[i]), 1024);
      up->record(*ready[s]);
      compute->wait(*ready[s]);
      static_cast<HostStream&>(*compute).enqueue([slot = ring[s].data(), out = &sums[i]] {
        for (int k = 0; k < 256; ++k) *out += slot[k];
      });
      compute->record(*free[s]);
    }
    auto done = device.make_event();
    compute->record(*done);
    done->synchronize();
    for (std::size_t i = 0; i < sources.size(); ++i) {
      long wanted = 0;
      for (const int v : sources[i]) wanted += v;
      CHECK(sums[i] == wanted);
    }
  }
}

TEST_CASE("streams: what lies behind paced work begins when that would have ended, on any stream") {
  constexpr double kCopySeconds = 50e-3;
  DeviceSim device({.to_device = {.bytes_per_second = 1e9, .latency_seconds = kCopySeconds}});
  auto up = device.make_stream("up");
  auto compute = device.make_stream("compute");
  auto ready = device.make_event();
  auto done = device.make_event();
  std::vector<int> from(16, 3);
  std::vector<int> to(16);
  double began = 0.0;
  int seen = 0;
  double stamped = 0.0;
  const double begin = now_seconds();
  device.copy(*up, Direction::kToDevice, bytes_of(to), bytes_of(from), 64);
  up->record(*ready);
  up->stamp(&stamped);
  compute->wait(*ready);
  static_cast<HostStream&>(*compute).enqueue([&to, &began, &seen] {
    began = now_seconds();
    seen = to[15];
  });
  compute->record(*done);
  wait_until(begin + 0.2 * kCopySeconds);  // the bytes are there by now
  const bool early = ready->reached();
  if (now_seconds() < begin + 0.9 * kCopySeconds) CHECK(!early);
  ready->synchronize();
  CHECK(now_seconds() >= begin + kCopySeconds);
  CHECK(ready->reached());
  done->synchronize();
  CHECK(began >= begin + kCopySeconds);
  CHECK(stamped >= begin + kCopySeconds);
  CHECK(seen == 3);
}

// How accurate the pace is, is measured in tests/bench; here only what no noise can change.
TEST_CASE("link: copies are never faster than the link, and waiting takes no core") {
  const LinkSpeed speed{.bytes_per_second = 200e6, .latency_seconds = 1e-3};
  DeviceSim device({.to_device = speed, .to_host = speed});
  auto up = device.make_stream("up");
  auto done = device.make_event();
  std::vector<int> from(1_MiB / sizeof(int), 3);
  std::vector<int> to(from.size());
  [[maybe_unused]] const double cpu = process_cpu_seconds();
  const double begin = now_seconds();
  for (int i = 0; i < 20; ++i) {
    device.copy(*up, Direction::kToDevice, bytes_of(to), bytes_of(from), 1_MiB);
  }
  up->record(*done);
  done->synchronize();
  const double seconds = now_seconds() - begin;
  CHECK(to == from);
  CHECK(seconds >= 20 * (1e-3 + 1_MiB / 200e6) * 0.999);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which copy slowly
  CHECK(process_cpu_seconds() - cpu < 0.5 * seconds);
#endif
}

TEST_CASE("link: a copy of another stream waits for one on its way, not for those behind it") {
  const LinkSpeed speed{.bytes_per_second = 100e6, .latency_seconds = 1e-3};
  DeviceSim device({.to_device = speed, .to_host = speed});
  auto ahead = device.make_stream("ahead");
  auto other = device.make_stream("other");
  auto done = device.make_event();
  std::vector<std::byte> from(1_MiB), to(1_MiB), small(16);
  constexpr std::size_t kCopies = 6;
  Span spans[kCopies];
  Span span;
  for (std::size_t i = 0; i + 1 < kCopies; ++i) {
    device.copy(*ahead, Direction::kToDevice, to.data(), from.data(), 1_MiB, &spans[i]);
  }
  const double given = now_seconds();
  device.copy(*other, Direction::kToDevice, small.data(), from.data(), small.size(), &span);
  other->record(*done);
  done->synchronize();
  CHECK(span.begin_seconds - given <= speed.seconds(1_MiB) + 1e-6);
  device.copy(*ahead, Direction::kToDevice, to.data(), from.data(), 1_MiB, &spans[kCopies - 1]);
  ahead->record(*done);
  done->synchronize();
  const double took = spans[kCopies - 1].end_seconds - spans[0].begin_seconds;
  CHECK(took + 1e-6 >= kCopies * speed.seconds(1_MiB) + speed.seconds(small.size()));
}
