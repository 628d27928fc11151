#include "memory/host_stream.h"

#include <pthread.h>
#include <sys/prctl.h>

#include <algorithm>
#include <string>

namespace sluice {
namespace {

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Tells who waits of a new count. The store must be sequentially consistent: notifying looks for
// sleepers first, and a weaker store may still sit in this core's buffer while it looks. One that
// goes to sleep just then would have seen the old count, and nobody would wake it.
void tell(std::atomic<std::uint32_t>& value, std::uint32_t count) {
  value.store(count, std::memory_order_seq_cst);
  value.notify_all();
}

// Waking a thread that sleeps takes longer than this.
constexpr double kSpinSeconds = 30e-6;

bool has_come_to(std::uint32_t seen, std::uint32_t target) {  // counts wrap
  return static_cast<std::int32_t>(seen - target) >= 0;
}

// Blocks until `value` has come to `target` or gone past it: spins a while, then sleeps. Where it
// is known when paced work ends that has to be done before, is awake by then: on one machine a
// sleeper takes 60 us to wake, which every streamed piece would wait for.
void wait_until_at_least(const std::atomic<std::uint32_t>& value, std::uint32_t target,
                         const std::atomic<double>* due_seconds = nullptr) {
  const auto reached = [&] { return has_come_to(value.load(std::memory_order_acquire), target); };
  const auto spin = [&] {
    for (const double end = now_seconds() + kSpinSeconds; now_seconds() < end;) {
      for (int i = 0; i < 16; ++i) {
        if (reached()) return true;
        pause_briefly();
      }
      std::this_thread::yield();  // who is waited for may be waiting for this core
    }
    return reached();
  };
  while (!spin()) {
    // Looked at before the count: if that isn't reached, the work in hand was still before it.
    const double due = due_seconds == nullptr ? 0.0 : due_seconds->load(std::memory_order_acquire);
    const std::uint32_t seen = value.load(std::memory_order_acquire);
    if (has_come_to(seen, target)) return;
    if (due > now_seconds()) {
      wait_until(due);
    } else {
      value.wait(seen, std::memory_order_acquire);
    }
  }
}

}  // namespace

void HostEvent::synchronize() {
  wait_for(recorded_);
  wait_until(reached_seconds());
}

void HostEvent::reach(std::uint32_t recording, double seconds) {
  reached_seconds_.store(seconds, std::memory_order_relaxed);
  tell(reached_, recording);
}

void HostEvent::wait_for(std::uint32_t recording) const {
  wait_until_at_least(reached_, recording, due_seconds_.load(std::memory_order_relaxed));
}

HostStream::HostStream(Mode mode, std::string_view name) {
  if (mode == Mode::kInline) return;
  ring_ = std::make_unique<Closure[]>(kRingSize);
  thread_ = std::thread([this, label = std::string(name.substr(0, 15))] {
    pthread_setname_np(pthread_self(), label.c_str());
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);  // paced copies end on time
    work();
  });
}

HostStream::~HostStream() {
  if (ring_ == nullptr) return;
  give([this] { stop_ = true; });
  thread_.join();
}

HostStream::Closure& HostStream::claim() {
  wait_until_at_least(done_, given_ + 1 - kRingSize);
  Closure& closure = ring_[given_ % kRingSize];
  closure.given_seconds = now_seconds();
  return closure;
}

void HostStream::publish() {
  tell(published_, ++given_);
}

void HostStream::work() {
  for (std::uint32_t next = 0; !stop_; ++next) {
    wait_until_at_least(published_, next + 1);
    const Closure& closure = ring_[next % kRingSize];
    ready_seconds_ = std::max(ready_seconds_, closure.given_seconds);
    closure.run(closure.storage);
    tell(done_, next + 1);
  }
}

void HostStream::record(Event& event) {
  auto* mark = static_cast<HostEvent*>(&event);
  give([this, mark, recording = mark->next(&due_seconds_)] {
    mark->reach(recording, std::max(now_seconds(), ready_seconds_));
  });
}

void HostStream::wait(Event& event) {
  auto* mark = static_cast<HostEvent*>(&event);
  give([this, mark, recording = mark->recorded()] {
    mark->wait_for(recording);
    ready_seconds_ = std::max(ready_seconds_, mark->reached_seconds());
  });
}

void HostStream::stamp(double* seconds) {
  give([this, seconds] { *seconds = std::max(now_seconds(), ready_seconds_); });
}

}  // namespace sluice
