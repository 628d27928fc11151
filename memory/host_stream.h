// Streams and events on the CPU: closures run in order on a thread of their own, or at once.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string_view>
#include <thread>
#include <type_traits>

#include "memory/clock.h"
#include "memory/device.h"

namespace sluice {

// Counts its recordings; a waiter waits for the number that it saw. A stream's events go before it.
class HostEvent final : public Event {
 public:
  void synchronize() override;
  bool reached() override { return has_reached(recorded_) && now_seconds() >= reached_seconds(); }

  // The enqueuing thread's. `due_seconds`: when the work in hand of the stream that records ends;
  // null: nobody knows.
  std::uint32_t next(const std::atomic<double>* due_seconds = nullptr) {
    due_seconds_.store(due_seconds, std::memory_order_relaxed);
    return ++recorded_;
  }
  std::uint32_t recorded() const { return recorded_; }  // the enqueuing thread's
  void reach(std::uint32_t recording, double seconds = now_seconds());
  // Until the work before it is done; that may be ahead of reached_seconds().
  void wait_for(std::uint32_t recording) const;
  bool has_reached(std::uint32_t recording) const {
    const std::uint32_t seen = reached_.load(std::memory_order_acquire);
    return static_cast<std::int32_t>(seen - recording) >= 0;
  }
  // When the last recording was reached, on the pace of the work before it: maybe not yet.
  double reached_seconds() const { return reached_seconds_.load(std::memory_order_relaxed); }

 private:
  std::uint32_t recorded_ = 0;
  std::atomic<const std::atomic<double>*> due_seconds_{nullptr};
  std::atomic<std::uint32_t> reached_{0};
  std::atomic<double> reached_seconds_{0.0};
};

// A fixed ring of closures between the one thread that gives work and the one that does it. Nothing
// is allocated and no lock taken after construction; both sides spin for a few microseconds, then
// sleep. A closure must be small, trivially copyable, and must not throw.
//
// Paced work is done as soon as it can be, and its thread doesn't wait until the pace says that it
// ends: what comes behind it on any stream does, if it isn't paced itself. So a thread that copies
// what a slow link would takes no more of a core than the copying does.
class HostStream final : public Stream {
 public:
  enum class Mode { kInline, kThread };
  explicit HostStream(Mode mode, std::string_view name = {});
  ~HostStream() override;  // after all work given

  // Gives work that takes the time it takes, once all before it has ended. Paced work behind it
  // counts from when it would have ended, had it begun as early as it could.
  template <typename Work>
  void enqueue(const Work& work) {
    give([this, work] {
      wait_until(ready_seconds_);
      const double begin_seconds = now_seconds();
      work();
      ready_seconds_ += now_seconds() - begin_seconds;
    });
  }

  // Gives work that is paced: `work(ready_seconds)` returns when it would have ended, had it begun
  // at ready_seconds, the earliest moment at which it could have: nothing is held up by a thread
  // that woke late.
  template <typename Work>
  void enqueue_paced(const Work& work) {
    if (ring_ == nullptr) ready_seconds_ = now_seconds();
    give([this, work] { ready_seconds_ = work(ready_seconds_); });
    if (ring_ == nullptr) wait_until(ready_seconds_);
  }

  // When paced work in hand ends, for who waits to be awake by then; the past: nothing is known.
  std::atomic<double>& due_seconds() { return due_seconds_; }

  void record(Event& event) override;
  void wait(Event& event) override;
  void stamp(double* seconds) override;

 private:
  template <typename Work>
  void give(const Work& work) {
    static_assert(std::is_trivially_copyable_v<Work> && sizeof(Work) <= kClosureBytes);
    if (ring_ == nullptr) {
      work();
      return;
    }
    Closure& closure = claim();
    ::new (closure.storage) Work(work);
    closure.run = [](const void* storage) { (*static_cast<const Work*>(storage))(); };
    publish();
  }

  static constexpr std::size_t kClosureBytes = 288;
  static constexpr std::uint32_t kRingSize = 1024;  // a power of two
  struct alignas(64) Closure {
    void (*run)(const void*);
    double given_seconds;
    alignas(16) std::byte storage[kClosureBytes];
  };

  Closure& claim();
  void publish();
  void work();

  std::unique_ptr<Closure[]> ring_;  // null: inline
  std::uint32_t given_ = 0;          // the giving thread's count
  alignas(64) std::atomic<std::uint32_t> published_{0};
  alignas(64) std::atomic<std::uint32_t> done_{0};
  std::atomic<double> due_seconds_{0.0};
  double ready_seconds_ = 0.0;  // when the work so far has ended; the working thread's
  bool stop_ = false;           // the working thread's
  std::thread thread_;
};

}  // namespace sluice
