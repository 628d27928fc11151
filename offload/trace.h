// What ran when: a span for every piece copied and computed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "offload/streamer.h"

namespace sluice {

// kLink goes to the device, kLinkDown comes back from it.
enum class Lane : std::uint8_t { kCompute, kLink, kLinkDown, kHost, kDisk };
inline constexpr std::size_t kLaneCount = 5;

struct TraceEntry {
  Lane lane;
  std::uint32_t piece;
  Span span;
  bool cache = false;  // of what is attended to behind the piece, rather than of itself
};

// What a pass brings: `tokens` of all sequences together, the context of each sequence holding
// `keys` on average, `rows` of them with logits (0: the head isn't run).
struct PassSize {
  std::size_t tokens;
  std::size_t keys;
  std::size_t rows;
  std::size_t sequences = 1;
};

// A pass as it ran: from its input's copy until its logits were back.
struct TracedPass {
  PassSize size;
  Span span;
};

// Spans are opened as work is enqueued, filled in by the streams, and settled once it is known that
// they are: then they are added up and, if the trace is kept, stored. Without keeping it allocates
// nothing after construction.
class Trace {
 public:
  // `open_spans`: how many of a lane may be open at once.
  Trace(std::size_t open_spans, bool keep);

  // Of a piece that is copied or computed, or the first of a unit that the host computes or
  // attends.
  Span* open(Lane lane, std::uint32_t piece, bool cache = false);
  // A piece has come from the disk.
  void add_disk(std::uint32_t piece, const Span& span);
  // The next are kept alone, and null where the trace isn't. Of what comes back over the link:
  Span* open_download(std::uint32_t piece, bool cache = false);
  Span* open_pass(const PassSize& size);
  // What was streamed is computed with: the copy that brought it is settled with the computation.
  // Copies end in the order in which they were opened, so it matters not which.
  void took_copy() { ++taken_; }

  // What has been opened, and taken, so far.
  struct Mark {
    std::size_t copies;
    std::size_t computed;
    std::size_t by_host;
    std::size_t downloads;
    std::size_t passes;
  };
  Mark mark() const {
    return {taken_, computes_.opened, by_host_.opened, downloads_.opened, passes_.opened};
  }
  // Everything before the mark is complete.
  void settle(const Mark& mark);

  double copy_seconds() const { return copies_.seconds; }
  double compute_seconds() const { return computes_.seconds; }
  double host_seconds() const { return by_host_.seconds; }
  double disk_seconds() const { return disk_seconds_; }
  // What is kept, of what is settled; a lane's are in order.
  const std::vector<TraceEntry>& entries() const { return kept_; }
  const std::vector<TracedPass>& passes() const { return kept_passes_; }

 private:
  struct Ring {
    std::vector<TraceEntry> entries;
    std::size_t opened = 0;
    std::size_t settled = 0;
    double seconds = 0.0;
  };
  void settle(Ring& ring, std::size_t upto);
  // Filled in where they lie, which is why they are not in a vector yet.
  template <typename Entry>
  struct Open {
    std::deque<Entry> entries;
    std::size_t opened = 0;

    Span* open(const Entry& entry) {
      ++opened;
      return &entries.emplace_back(entry).span;
    }
    void settle(std::size_t upto, std::vector<Entry>& kept) {
      for (; opened - entries.size() < upto; entries.pop_front()) kept.push_back(entries.front());
    }
  };

  bool keep_;
  Ring copies_;
  Ring computes_;
  Ring by_host_;
  std::size_t taken_ = 0;
  double disk_seconds_ = 0.0;
  std::vector<TraceEntry> kept_;
  std::vector<TracedPass> kept_passes_;
  Open<TraceEntry> downloads_;
  Open<TracedPass> passes_;
};

}  // namespace sluice
