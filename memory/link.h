// One direction of a link between two memories, paced to a bandwidth and a latency.
#pragma once

#include <atomic>
#include <cstddef>

#include "memory/device.h"

namespace sluice {

struct LinkSpeed {
  double bytes_per_second = 0.0;  // 0: as fast as the memory copies
  double latency_seconds = 0.0;   // before each copy's first byte

  // That a copy takes the link, if it has a pace.
  double seconds(std::size_t bytes) const {
    return latency_seconds + static_cast<double>(bytes) / bytes_per_second;
  }
};

// Copies are real, and told to take as long as the link would: a copy occupies it for its latency
// and its bytes, after the copies before it.
class Link {
 public:
  explicit Link(LinkSpeed speed) : speed_(speed) {}

  // Returns when the bytes are there, and says when the link is busy with them, which may last
  // longer. `ready_seconds` is when the copy could have begun: a thread that woke late doesn't hold
  // up the link. `due_seconds`, if given, is told when it will be through as soon as that is known.
  // Any thread.
  Span copy(std::byte* to, const std::byte* from, std::size_t bytes, double ready_seconds,
            std::atomic<double>* due_seconds = nullptr);

 private:
  LinkSpeed speed_;
  std::atomic<double> free_seconds_{0.0};  // when the copies so far are through
};

}  // namespace sluice
