// One direction of a link between two memories, paced to a bandwidth and a latency.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <mutex>

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
// and its bytes. Those of one stream come one after the other. One of another stream waits for the
// copy that is on its way, not for those that will follow: that threads copy ahead of the link's
// pace doesn't put what they copied ahead of it.
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
  static constexpr std::size_t kClaims = 64;  // as many as there may be slots

  Span claim(double ready_seconds, double cost_seconds);

  LinkSpeed speed_;
  std::mutex mutex_;  // of what follows
  std::array<Span, kClaims> claims_{};
  std::size_t claimed_ = 0;
  double last_seconds_ = 0.0;  // the last claim's end
  double free_seconds_ = 0.0;  // with what was put before it
};

}  // namespace sluice
