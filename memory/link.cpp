#include "memory/link.h"

#include <algorithm>
#include <cstring>

#include "memory/clock.h"

namespace sluice {

Span Link::copy(std::byte* to, const std::byte* from, std::size_t bytes, double ready_seconds,
                std::atomic<double>* due_seconds) {
  if (speed_.bytes_per_second <= 0.0) {
    const double begin_seconds = now_seconds();
    std::memcpy(to, from, bytes);
    return {begin_seconds, now_seconds()};
  }
  const double cost_seconds = speed_.seconds(bytes);
  double free_seconds = free_seconds_.load(std::memory_order_relaxed);
  double begin_seconds;
  do {
    begin_seconds = std::max(ready_seconds, free_seconds);
  } while (!free_seconds_.compare_exchange_weak(free_seconds, begin_seconds + cost_seconds));
  if (due_seconds != nullptr) {
    due_seconds->store(begin_seconds + cost_seconds, std::memory_order_release);
  }
  std::memcpy(to, from, bytes);
  return {begin_seconds, begin_seconds + cost_seconds};
}

}  // namespace sluice
