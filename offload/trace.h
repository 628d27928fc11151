// What ran when: a span for every piece copied and computed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "offload/streamer.h"

namespace sluice {

enum class Lane : std::uint8_t { kCompute, kLink, kHost, kDisk };

struct TraceEntry {
  Lane lane;
  std::uint32_t piece;
  Span span;
};

// Spans are opened as work is enqueued, filled in by the streams, and settled once it is known that
// they are: then they are added up and, if the trace is kept, stored. Without keeping it allocates
// nothing after construction.
class Trace {
 public:
  // `open_spans`: how many of a lane may be open at once.
  Trace(std::size_t open_spans, bool keep);

  Span* open(Lane lane, std::uint32_t piece);
  // The host has computed the unit of a piece: its spans are complete at once.
  void add_host(std::uint32_t piece, const Span& span);
  // A piece has come from the disk.
  void add_disk(std::uint32_t piece, const Span& span);
  // A streamed piece is computed: the copy that brought it is settled with the computation.
  void took_copy() { ++taken_; }

  // What has been opened, and taken, so far.
  struct Mark {
    std::size_t copies;
    std::size_t computed;
  };
  Mark mark() const { return {taken_, computes_.opened}; }
  // Everything before the mark is complete.
  void settle(const Mark& mark);

  double copy_seconds() const { return copies_.seconds; }
  double compute_seconds() const { return computes_.seconds; }
  double host_seconds() const { return host_seconds_; }
  double disk_seconds() const { return disk_seconds_; }
  const std::vector<TraceEntry>& entries() const { return kept_; }

 private:
  struct Ring {
    std::vector<TraceEntry> entries;
    std::size_t opened = 0;
    std::size_t settled = 0;
    double seconds = 0.0;
  };
  void settle(Ring& ring, std::size_t upto);

  bool keep_;
  Ring copies_;
  Ring computes_;
  std::size_t taken_ = 0;
  double host_seconds_ = 0.0;
  double disk_seconds_ = 0.0;
  std::vector<TraceEntry> kept_;
};

}  // namespace sluice
