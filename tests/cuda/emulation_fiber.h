// A stack that can be left in the middle and come back to: one for each CUDA thread of a block.
//
// Switching tells the address and thread sanitizers where execution goes on. Under the latter every
// fiber is a thread of its own, and a switch by itself orders nothing between them.
#pragma once

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define SLUICE_ASAN_FIBERS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLUICE_ASAN_FIBERS 1
#endif
#endif

#ifdef SLUICE_ASAN_FIBERS
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef SLUICE_TSAN_FIBERS
extern "C" void __tsan_switch_to_fiber(void* fiber, unsigned flags);
#endif

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
  // Inline, as is what calls it: after a switch no return goes where the processor expects.
  static void switch_from_to(Fiber& from, Fiber& to) {
    from.next_ = &to;
#ifdef SLUICE_ASAN_FIBERS
    __sanitizer_start_switch_fiber(&from.fake_stack_, to.stack_begin_, to.stack_bytes_);
#endif
#ifdef SLUICE_TSAN_FIBERS
    constexpr unsigned kNoSync = 1;
    __tsan_switch_to_fiber(to.tsan_fiber_, kNoSync);
#endif
    from.arrive(boost::context::detail::jump_fcontext(to.context_, &from));
  }

 private:
  struct Entry;

  void arrive(boost::context::detail::transfer_t came) {
    auto& previous = *static_cast<Fiber*>(came.data);
    previous.context_ = came.fctx;
#ifdef SLUICE_ASAN_FIBERS
    __sanitizer_finish_switch_fiber(fake_stack_, &previous.stack_begin_, &previous.stack_bytes_);
#endif
  }

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
