// A stream's work: closures run in order on a thread of their own.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <random>
#include <thread>

namespace sluice::fake_cuda {

// The thread starts with the first work. Safe to use from any thread.
class Queue {
 public:
  // With a seed other than 0 the thread dawdles at random before each work.
  explicit Queue(std::uint64_t seed) : seed_(seed), random_(seed) {}
  ~Queue() { finish(); }
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  // Returns the work's number; the first is 1.
  std::uint64_t give(std::function<void()> work);
  std::uint64_t given() const;
  bool done(std::uint64_t number) const;
  void wait(std::uint64_t number) const;
  // Returns after all work given; there can be none any more.
  void finish();

 private:
  void run();
  void dawdle();

  const std::uint64_t seed_;
  std::minstd_rand random_;  // the thread's
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;
  std::uint64_t given_ = 0;
  std::uint64_t done_ = 0;
  bool stop_ = false;
  std::thread thread_;
};

// Whether the calling thread is a queue's: it must not call CUDA.
bool on_a_queue();

}  // namespace sluice::fake_cuda
