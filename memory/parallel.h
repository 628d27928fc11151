// The one parallel loop, on oneTBB. How many threads take part is the calling arena's business.
#pragma once

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/parallel_for.h>

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
#ifdef SLUICE_TSAN
  // TBB's library isn't instrumented: fork and join are told to the sanitizer here.
  char fork = 0;
  char join = 0;
  __tsan_release(&fork);
#endif
  oneapi::tbb::parallel_for(oneapi::tbb::blocked_range<std::size_t>(0, count, grain),
                            [&](const oneapi::tbb::blocked_range<std::size_t>& range) {
#ifdef SLUICE_TSAN
                              __tsan_acquire(&fork);
#endif
                              body(range.begin(), range.end());
#ifdef SLUICE_TSAN
                              __tsan_release(&join);
#endif
                            });
#ifdef SLUICE_TSAN
  __tsan_acquire(&join);
#endif
}

}  // namespace sluice
