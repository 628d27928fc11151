#include "memory/clock.h"

#include <time.h>

namespace sluice {
namespace {

// Sleeping threads wake late by about this; the rest of a wait is spun.
constexpr double kOversleepSeconds = 80e-6;

}  // namespace

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

}  // namespace sluice
