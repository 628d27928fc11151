// Runs one block at a time: every CUDA thread on a fiber of its own, one fiber at a time.
//
// Barriers and warp collectives are places where a thread waits until the partners have come. The
// last to come does the collective's work and lets all go on.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/cuda/emulation_fiber.h"
#include "tests/cuda/emulation_grid.h"
#include "tests/cuda/emulation_shared.h"
#include "tests/cuda/emulation_threads.h"

namespace sluice::emulation {

constexpr unsigned kMaxBlockThreads = 1024;
constexpr unsigned kWarpThreads = 32;

// What the lanes of a warp do together: payloads[lane] is what the lane brought, for those in mask.
using Complete = void (*)(unsigned mask, void* const* payloads);

class BlockRunner {
 public:
  BlockRunner() = default;
  BlockRunner(const BlockRunner&) = delete;
  BlockRunner& operator=(const BlockRunner&) = delete;

  void run(Grid& grid, std::uint64_t block_index);

  // For the CUDA thread that calls.
  unsigned barrier(const char* call, bool predicate, Site site);
  void collective(const char* call, unsigned mask, void* payload, Complete complete, Site site);
  void yield(Site site);
  SharedMemory& shared() { return shared_; }
  unsigned lane() const { return static_cast<unsigned>(current_ - threads_.data()) % kWarpThreads; }
  // Ends the grid with a violation by the thread that calls.
  [[noreturn]] void fail(const std::string& what);

 private:
  struct Thread {
    ThreadIndices indices;
    Fiber* fiber;
    const char* call;  // what it waits in; nullptr: it doesn't wait
    Site site;
    bool exited;
  };

  // Lanes that have come to a collective whose other lanes haven't.
  struct Gathering {
    unsigned mask;
    unsigned come = 0;
    unsigned first_lane;
    std::array<void*, kWarpThreads> payloads;
    // For the thread sanitizer. Two in turn: a quick lane may be at the next __syncwarp before
    // a slow one has left this.
    std::array<char, 2> tokens;
    unsigned turn = 0;
  };
  struct Warp {
    unsigned exited;
    unsigned used;                                   // which of the gatherings
    std::array<Gathering, kWarpThreads> gatherings;  // their masks don't overlap
  };

  static void fiber_main(void* owner, Fiber& self);
  void start_block(std::uint64_t block_index);
  void run_thread();
  void leave_block();
  // Goes on when somebody made the thread ready.
  void wait(const char* call, Site site);
  [[noreturn]] void fail_deadlock();
  void make_ready(unsigned thread);
  void make_ready_all(unsigned first, unsigned mask, unsigned count);
  void release_barrier();
  void switch_to_next();
  // The next thread that may go on, or nullptr.
  Thread* take_ready();
  void abandon();
  unsigned gathering_for(const char* call, unsigned mask, Site site);
  unsigned exists_mask(unsigned warp) const;
  void check_exit_leaves_nobody();
  std::string deadlock() const;
  std::string where(const Thread& thread) const;
  std::string waits(const Thread& thread) const;
  unsigned index_of(const Thread& thread) const {
    return static_cast<unsigned>(&thread - threads_.data());
  }
  std::uint64_t random();

  Grid* grid_ = nullptr;
  Fiber outside_;  // who called run()
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::size_t fiber_shift_ = 0;
  std::vector<Thread> threads_ = std::vector<Thread>(kMaxBlockThreads);
  std::vector<Warp> warps_ = std::vector<Warp>(kMaxBlockThreads / kWarpThreads);
  unsigned thread_count_ = 0;
  unsigned exited_count_ = 0;
  Thread* current_ = nullptr;
  bool abandoned_ = false;
  SharedMemory shared_;

  unsigned yields_ = 0;

  unsigned barrier_come_ = 0;
  unsigned barrier_first_ = 0;
  unsigned barrier_holds_ = 0;
  unsigned barrier_result_ = 0;
  unsigned barrier_turn_ = 0;
  std::array<char, 2> barrier_tokens_ = {};
  char start_token_ = 0;

  std::array<std::uint16_t, kMaxBlockThreads> ready_;  // a ring
  unsigned ready_begin_ = 0;
  unsigned ready_count_ = 0;
  std::uint64_t random_state_ = 0;
};

__attribute__((always_inline)) inline void BlockRunner::wait(const char* call, Site site) {
  Thread& self = *current_;
  self.call = call;
  self.site = site;
  if (ready_count_ == 0) fail_deadlock();
  switch_to_next();
  self.call = nullptr;
  if (abandoned_) throw Abandoned{};
}

__attribute__((always_inline)) inline void BlockRunner::switch_to_next() {
  Thread& from = *current_;
  Thread& to = *take_ready();
  current_ = &to;
  // Set here rather than after the switch: whoever comes back may be another system's thread.
  current_thread = &to.indices;
  if (&from != &to) Fiber::switch_from_to(*from.fiber, *to.fiber);
}

// "tests/cuda/x.cpp:12", from the source's root.
std::string text_of(Site site);
bool is_same(Site a, Site b);
std::string text_of(uint3 index);

}  // namespace sluice::emulation
