// A stack that can be left in the middle and come back to: one for each CUDA thread of a block.
//
// Switching tells the address and thread sanitizers where execution goes on. Under the latter every
// fiber is a thread of its own, and a switch by itself orders nothing between them.
#pragma once

#include <cstddef>

namespace sluice::emulation {

class Fiber {
 public:
  // The operating system's thread itself: adopt() before the first switch away from it.
  Fiber() = default;
  // A fiber that calls main(owner, *this) at the first switch to it; main never returns.
  Fiber(void (*main)(void* owner, Fiber& self), void* owner);
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber();

  // Says that the thread which calls is the one that this stands for.
  void adopt();

  // Leaves `from`, on which this is called, for `to`; returns when somebody switches back.
  static void switch_from_to(Fiber& from, Fiber& to);

 private:
  struct Entry;

  void* context_ = nullptr;
  const void* stack_begin_ = nullptr;  // lowest address
  std::size_t stack_bytes_ = 0;
  void* mapping_ = nullptr;     // the stack with its guard page; owned
  void* fake_stack_ = nullptr;  // the address sanitizer's
  void* tsan_fiber_ = nullptr;
  Fiber* next_ = nullptr;  // where it is being left for
  void (*main_)(void* owner, Fiber& self) = nullptr;
  void* owner_ = nullptr;
};

// For the thread sanitizer: what happened before a release(at) happened before an acquire(at).
void release_to_others(void* at);
void acquire_from_others(void* at);

}  // namespace sluice::emulation
