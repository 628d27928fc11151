#include "tests/cuda/runtime_queue.h"

#include <chrono>

namespace sluice::fake_cuda {

namespace {
thread_local bool is_queue_thread = false;
}  // namespace

bool on_a_queue() {
  return is_queue_thread;
}

void Queue::finish() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

std::uint64_t Queue::give(std::function<void()> work) {
  std::uint64_t number = 0;
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(work));
    number = ++given_;
    if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  }
  changed_.notify_all();
  return number;
}

std::uint64_t Queue::given() const {
  const std::lock_guard lock(mutex_);
  return given_;
}

bool Queue::done(std::uint64_t number) const {
  const std::lock_guard lock(mutex_);
  return done_ >= number;
}

void Queue::wait(std::uint64_t number) const {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return done_ >= number; });
}

void Queue::run() {
  is_queue_thread = true;
  while (true) {
    std::function<void()> work;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stop_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      work = std::move(waiting_.front());
      waiting_.pop_front();
    }
    dawdle();
    work();
    work = nullptr;  // what it holds goes before anybody is told
    {
      const std::lock_guard lock(mutex_);
      ++done_;
    }
    changed_.notify_all();
  }
}

// Mostly not at all, now and then for a moment, seldom for long: so that any of two streams may be
// far ahead of the other.
void Queue::dawdle() {
  if (seed_ == 0) return;
  const auto draw = random_() % 16;
  if (draw < 4) std::this_thread::yield();
  if (draw >= 12) {
    std::this_thread::sleep_for(std::chrono::microseconds(draw == 15 ? 300 : 10 * (draw - 11)));
  }
}

}  // namespace sluice::fake_cuda
