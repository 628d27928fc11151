#include "tests/cuda/emulation_block.h"

#include <bit>
#include <exception>
#include <utility>

#include "memory/error.h"

namespace sluice::emulation {

constinit thread_local const ThreadIndices* current_thread = nullptr;

void BlockRunner::run(Grid& grid, std::uint64_t block_index) {
  grid_ = &grid;
  start_block(block_index);
  release_to_others(&start_token_);
  outside_.adopt();
  Thread* first = take_ready();
  current_ = first;
  current_thread = &first->indices;
  Fiber::switch_from_to(outside_, *first->fiber);
  if (!abandoned_) {
    if (const auto overrun = shared_.overrun()) {
      grid.violate(
          text("block ", text_of(threads_[0].indices.block), ": a thread wrote ", *overrun));
    }
  }
}

void BlockRunner::start_block(std::uint64_t block_index) {
  const dim3 extent = grid_->block_extent;
  thread_count_ = extent.x * extent.y * extent.z;
  // To the thread sanitizer equal indices of two blocks must not be one thread. Hence one more.
  while (fibers_.size() <= thread_count_) {
    fibers_.push_back(std::make_unique<Fiber>(fiber_main, this));
  }
  fiber_shift_ += 1;
  const dim3 grid = grid_->extent;
  const uint3 block = {static_cast<unsigned>(block_index % grid.x),
                       static_cast<unsigned>(block_index / grid.x % grid.y),
                       static_cast<unsigned>(block_index / grid.x / grid.y)};
  for (unsigned i = 0; i < thread_count_; ++i) {
    const uint3 index = {i % extent.x, i / extent.x % extent.y, i / extent.x / extent.y};
    Fiber* fiber = fibers_[(i + fiber_shift_) % fibers_.size()].get();
    threads_[i] = {{index, block, extent, grid, this}, fiber, nullptr, {}, false};
  }
  for (Warp& warp : warps_) warp.exited = warp.used = 0;
  exited_count_ = 0;
  yields_ = 0;
  abandoned_ = false;
  barrier_come_ = 0;
  barrier_holds_ = 0;
  ready_begin_ = 0;
  ready_count_ = 0;
  random_state_ = (grid_->seed + 1) * 0x9E3779B97F4A7C15u + block_index;
  shared_.start(grid_->dynamic_bytes);
  make_ready_all(0, 0, thread_count_);
}

// A fiber serves one thread of each block, for as long as its runner lives.
void BlockRunner::fiber_main(void* owner, Fiber& /*self*/) {
  auto& runner = *static_cast<BlockRunner*>(owner);
  for (;;) {
    runner.run_thread();
    runner.leave_block();
  }
}

void BlockRunner::run_thread() {
  acquire_from_others(&grid_->fork);
  acquire_from_others(&start_token_);
  if (!abandoned_) {
    try {
      grid_->thread_main(grid_->arguments);
      current_->exited = true;
      check_exit_leaves_nobody();
    } catch (const Abandoned&) {
    } catch (const std::exception& error) {
      grid_->violate(where(*current_) + " threw: " + error.what());
      abandon();
    }
  }
  release_to_others(&grid_->join);
}

void BlockRunner::leave_block() {
  const unsigned thread = index_of(*current_);
  current_->exited = true;
  warps_[thread / kWarpThreads].exited |= 1u << thread % kWarpThreads;
  ++exited_count_;
  if (exited_count_ == thread_count_) {
    Fiber::switch_from_to(*current_->fiber, outside_);
    return;
  }
  if (ready_count_ == 0) {
    grid_->violate(deadlock());
    abandon();
  }
  switch_to_next();
}

void BlockRunner::check_exit_leaves_nobody() {
  if (barrier_come_ > 0) {
    fail(text("has exited while ", waits(threads_[barrier_first_])));
  }
  const unsigned thread = index_of(*current_);
  const Warp& warp = warps_[thread / kWarpThreads];
  for (unsigned rest = warp.used; rest != 0; rest &= rest - 1) {
    const Gathering& gathering = warp.gatherings[static_cast<unsigned>(std::countr_zero(rest))];
    if ((gathering.mask >> thread % kWarpThreads & 1) != 0) {
      const Thread& first = threads_[thread / kWarpThreads * kWarpThreads + gathering.first_lane];
      fail(text("has exited, which the mask names while ", waits(first)));
    }
  }
}

__attribute__((always_inline)) inline unsigned BlockRunner::barrier(const char* call,
                                                                    bool predicate, Site site) {
  if (exited_count_ > 0) {
    const Thread* gone = threads_.data();
    while (!gone->exited) ++gone;
    fail(text("is at ", call, " at ", text_of(site), "; thread ", text_of(gone->indices.thread),
              " has exited"));
  }
  if (barrier_come_ == 0) {
    barrier_first_ = index_of(*current_);
  } else {
    const Thread& first = threads_[barrier_first_];
    if (!is_same(first.site, site)) {
      fail(text("is at ", call, " at ", text_of(site), " while ", waits(first)));
    }
  }
  ++barrier_come_;
  barrier_holds_ += predicate ? 1 : 0;
  char* token = &barrier_tokens_[barrier_turn_];
  release_to_others(token);
  if (barrier_come_ == thread_count_) release_barrier();
  wait(call, site);
  acquire_from_others(token);
  return barrier_result_;
}

unsigned block_barrier(const char* call, bool predicate, Site site) {
  return current_thread->runner->barrier(call, predicate, site);
}

void BlockRunner::release_barrier() {
  barrier_result_ = std::exchange(barrier_holds_, 0);
  barrier_come_ = 0;
  barrier_turn_ ^= 1;
  make_ready_all(0, 0, thread_count_);
}

void BlockRunner::yield(Site site) {
  constexpr unsigned kMostYields = 1 << 24;  // about a second
  if (++yields_ > kMostYields) fail("waits without end in __nanosleep at " + text_of(site));
  make_ready(index_of(*current_));
  wait("__nanosleep", site);
}

void BlockRunner::fail_deadlock() {
  grid_->violate(deadlock());
  abandon();
  throw Abandoned{};
}

void BlockRunner::make_ready(unsigned thread) {
  ready_[(ready_begin_ + ready_count_) % kMaxBlockThreads] = static_cast<std::uint16_t>(thread);
  ++ready_count_;
}

// Those of the `count` threads from `first` on that `mask` names; all of them if that is 0.
void BlockRunner::make_ready_all(unsigned first, unsigned mask, unsigned count) {
  const bool reverse = grid_->order == Order::kReverse;
  for (unsigned i = 0; i < count; ++i) {
    const unsigned offset = reverse ? count - 1 - i : i;
    if (mask == 0 || (mask >> offset & 1) != 0) make_ready(first + offset);
  }
}

BlockRunner::Thread* BlockRunner::take_ready() {
  if (grid_->order == Order::kRandom) {
    const auto pick = static_cast<unsigned>(random() % ready_count_);
    std::swap(ready_[ready_begin_], ready_[(ready_begin_ + pick) % kMaxBlockThreads]);
  }
  Thread* thread = &threads_[ready_[ready_begin_]];
  ready_begin_ = (ready_begin_ + 1) % kMaxBlockThreads;
  --ready_count_;
  return thread;
}

// Makes everybody ready that is still there, to throw Abandoned.
void BlockRunner::abandon() {
  abandoned_ = true;
  ready_begin_ = 0;
  ready_count_ = 0;
  for (unsigned i = 0; i < thread_count_; ++i) {
    if (!threads_[i].exited && &threads_[i] != current_) make_ready(i);
  }
}

void BlockRunner::fail(const std::string& what) {
  grid_->violate(where(*current_) + " " + what);
  current_->exited = true;
  abandon();
  throw Abandoned{};
}

std::uint64_t BlockRunner::random() {
  random_state_ ^= random_state_ << 13;
  random_state_ ^= random_state_ >> 7;
  random_state_ ^= random_state_ << 17;
  return random_state_ >> 16;
}

}  // namespace sluice::emulation
