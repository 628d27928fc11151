// The one parallel loop, on oneTBB. How many threads take part is the process's business
// (--threads).
#pragma once

#include <cstddef>

#if defined(__SANITIZE_THREAD__)
#define SLUICE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SLUICE_TSAN 1
#endif
#endif
#ifdef SLUICE_TSAN
extern "C" {
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}
#endif

namespace sluice {

// The loop itself: body(context, begin, end). Compiled without the thread sanitizer, which can't
// see into oneTBB's library and would report what its headers do.
void run_parallel(std::size_t count, std::size_t grain,
                  void (*body)(const void* context, std::size_t begin, std::size_t end),
                  const void* context);

// Calls body(begin, end) over disjoint ranges that cover [0, count), each of `grain` or more where
// possible. Returns when all are done. The body must not throw. Work is split as it goes, so that a
// thread that lost its core holds nobody up.
template <typename Body>
void parallel_for(std::size_t count, std::size_t grain, const Body& body) {
  if (count == 0) return;
  if (count <= grain) {
    body(std::size_t{0}, count);
    return;
  }
  struct Loop {
    const Body& body;
    mutable char fork = 0;
    mutable char join = 0;
  };
  const Loop loop{body};
#ifdef SLUICE_TSAN
  __tsan_release(&loop.fork);
#endif
  run_parallel(
      count, grain,
      [](const void* context, std::size_t begin, std::size_t end) {
        const auto* l = static_cast<const Loop*>(context);
#ifdef SLUICE_TSAN
        __tsan_acquire(&l->fork);
#endif
        l->body(begin, end);
#ifdef SLUICE_TSAN
        __tsan_release(&l->join);
#endif
      },
      &loop);
#ifdef SLUICE_TSAN
  __tsan_acquire(&loop.join);
#endif
}

}  // namespace sluice
