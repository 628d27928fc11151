#include "memory/clock.h"

#include <sys/resource.h>
#include <time.h>

namespace sluice {
namespace {

// Sleeping threads wake late by about this; the rest of a wait is spun.
constexpr double kOversleepSeconds = 80e-6;

}  // namespace

double process_cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

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
