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
  const Span busy = claim(ready_seconds, speed_.seconds(bytes));
  if (due_seconds != nullptr) due_seconds->store(busy.end_seconds, std::memory_order_release);
  std::memcpy(to, from, bytes);
  return busy;
}

Span Link::claim(double ready_seconds, double cost_seconds) {
  const std::lock_guard lock(mutex_);
  Span claim{ready_seconds, 0.0};
  if (ready_seconds >= last_seconds_) {
    claim.begin_seconds = std::max(ready_seconds, free_seconds_);
    claim.end_seconds = claim.begin_seconds + cost_seconds;
    last_seconds_ = free_seconds_ = claim.end_seconds;
    claims_[claimed_++ % kClaims] = claim;
    return claim;
  }
  // What was claimed behind it stays where it is; what is claimed from now on is later for it.
  for (const Span& c : claims_) {
    if (c.begin_seconds <= ready_seconds && ready_seconds < c.end_seconds) {
      claim.begin_seconds = c.end_seconds;
    }
  }
  claim.end_seconds = claim.begin_seconds + cost_seconds;
  free_seconds_ += cost_seconds;
  return claim;
}

}  // namespace sluice
