#include "memory/link.h"

#include <time.h>

#include <algorithm>
#include <cstring>

#include "memory/clock.h"

namespace sluice {
namespace {

// Sleeping threads wake late by about this; the rest of a wait is spun.
constexpr double kOversleepSeconds = 80e-6;

void wait_until(double seconds) {
  const double sleep_seconds = seconds - kOversleepSeconds;
  if (sleep_seconds > now_seconds()) {
    timespec until;
    until.tv_sec = static_cast<time_t>(sleep_seconds);
    until.tv_nsec = static_cast<long>((sleep_seconds - static_cast<double>(until.tv_sec)) * 1e9);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) != 0) {
    }
  }
  while (now_seconds() < seconds) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
}

}  // namespace

Span Link::copy(std::byte* to, const std::byte* from, std::size_t bytes, double ready_seconds) {
  if (speed_.bytes_per_second <= 0.0) {
    const double begin_seconds = now_seconds();
    std::memcpy(to, from, bytes);
    return {begin_seconds, now_seconds()};
  }
  const double cost_seconds =
      speed_.latency_seconds + static_cast<double>(bytes) / speed_.bytes_per_second;
  double free_seconds = free_seconds_.load(std::memory_order_relaxed);
  double begin_seconds;
  do {
    begin_seconds = std::max(ready_seconds, free_seconds);
  } while (!free_seconds_.compare_exchange_weak(free_seconds, begin_seconds + cost_seconds));
  std::memcpy(to, from, bytes);
  wait_until(begin_seconds + cost_seconds);
  return {begin_seconds, begin_seconds + cost_seconds};
}

}  // namespace sluice
