#include "offload/trace.h"

#include <cassert>

namespace sluice {

Trace::Trace(std::size_t open_spans, bool keep) : keep_(keep) {
  copies_.entries.resize(open_spans);
  computes_.entries.resize(open_spans);
  by_host_.entries.resize(open_spans);
}

Span* Trace::open(Lane lane, std::uint32_t piece, bool cache) {
  Ring& ring = lane == Lane::kLink ? copies_ : lane == Lane::kHost ? by_host_ : computes_;
  assert(ring.opened - ring.settled < ring.entries.size());
  TraceEntry& entry = ring.entries[ring.opened++ % ring.entries.size()];
  entry = {lane, piece, {}, cache};
  return &entry.span;
}

Span* Trace::open_download(std::uint32_t piece, bool cache) {
  return keep_ ? downloads_.open({Lane::kLinkDown, piece, {}, cache}) : nullptr;
}

void Trace::add_disk(std::uint32_t piece, const Span& span) {
  disk_seconds_ += span.end_seconds - span.begin_seconds;
  if (keep_) kept_.push_back({Lane::kDisk, piece, span});
}

Span* Trace::open_pass(const PassSize& size) {
  return keep_ ? passes_.open({size, {}}) : nullptr;
}

void Trace::settle(const Mark& mark) {
  settle(copies_, mark.copies);
  settle(computes_, mark.computed);
  settle(by_host_, mark.by_host);
  downloads_.settle(mark.downloads, kept_);
  passes_.settle(mark.passes, kept_passes_);
}

void Trace::settle(Ring& ring, std::size_t upto) {
  for (; ring.settled < upto; ++ring.settled) {
    const TraceEntry& entry = ring.entries[ring.settled % ring.entries.size()];
    ring.seconds += entry.span.end_seconds - entry.span.begin_seconds;
    if (keep_) kept_.push_back(entry);
  }
}

}  // namespace sluice
