// The one clock that schedules, pacing and traces are told by.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

namespace sluice {

// Seconds on a clock that never goes back; its zero means nothing.
inline double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The least that `work` takes in some runs: the machine's own speed, others' work left out.
template <typename Work>
double best_seconds(int runs, const Work& work) {
  double best = 1e30;
  for (int run = 0; run < runs; ++run) {
    const double begin = now_seconds();
    work();
    best = std::min(best, now_seconds() - begin);
  }
  return std::max(best, 1e-9);
}

// Of measurements, at least one: the middle one, or the mean of the two in the middle.
inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : 0.5 * (values[middle - 1] + values[middle]);
}

// Of processors, that this process's threads have worked for in all, the kernel for them included.
double process_cpu_seconds();

// Returns at that time, within a microsecond or so. Sleeps, but for the last moments.
void wait_until(double seconds);

}  // namespace sluice
