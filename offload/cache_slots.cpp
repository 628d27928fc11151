#include "offload/cache_slots.h"

#include <cassert>
#include <utility>

#include "memory/units.h"

namespace sluice {

CacheSlots::CacheSlots(Device& device, Stream& compute, Stream& up, std::byte* memory,
                       std::size_t slots, const KvLayout& layout)
    : device_(device), compute_(compute), up_(up), page_bytes_(layout.page_bytes()) {
  assert(slots <= layout.layers);
  for (std::size_t slot = 0; slot < slots; ++slot) {
    slots_.push_back({memory + slot * align_up(layout.layer_bytes()), device.make_event(),
                      device.make_event(), device.make_event()});
  }
  before_.reserve(layout.pages);
  added_.reserve(layout.pages);
  host_turn_ = device.make_event();
  down_ = device.make_stream("link-down");
}

void CacheSlots::begin_pass(std::span<const PassPart> parts,
                            const std::vector<Sequence>& sequences) {
  assert(sent_ == brought_back_);
  before_.clear();
  added_.clear();
  for (const PassPart& part : parts) {
    const Sequence& sequence = sequences[part.sequence];
    const std::size_t end = part.first_position + part.tokens;
    add_runs(sequence, 0, ceil_div(part.first_position, kPageTokens), before_);
    add_runs(sequence, part.first_position / kPageTokens, ceil_div(end, kPageTokens), added_);
  }
}

// Pages that lie one behind the other are copied at once.
void CacheSlots::add_runs(const Sequence& sequence, std::size_t first_page, std::size_t end_page,
                          std::vector<Run>& runs) const {
  for (std::size_t p = first_page; p < end_page; ++p) {
    const std::size_t begin = static_cast<std::size_t>(sequence.pages[p]) * page_bytes_;
    if (!runs.empty() && runs.back().begin_bytes + runs.back().size_bytes == begin) {
      runs.back().size_bytes += page_bytes_;
    } else {
      runs.push_back({begin, page_bytes_});
    }
  }
}

void CacheSlots::wait_for_host() {
  compute_.record(*host_turn_);
  up_.wait(*host_turn_);
}

void CacheSlots::end_pass() {
  compute_.wait(*slots_[(brought_back_ - 1) % slots_.size()].free);
}

void CacheSlots::send(const std::byte* home, Span* span) {
  assert(sent_ - brought_back_ < slots_.size());
  Slot& slot = slots_[sent_++ % slots_.size()];
  up_.wait(*slot.free);
  copy(up_, Direction::kToDevice, slot.memory, home, before_, span);
  up_.record(*slot.ready);
}

std::byte* CacheSlots::take() {
  assert(taken_ < sent_);
  Slot& slot = slots_[taken_++ % slots_.size()];
  compute_.wait(*slot.ready);
  return slot.memory;
}

void CacheSlots::bring_back(std::byte* home, Span* span) {
  assert(brought_back_ < taken_);
  Slot& slot = slots_[brought_back_++ % slots_.size()];
  compute_.record(*slot.used);
  down_->wait(*slot.used);
  copy(*down_, Direction::kToHost, home, slot.memory, added_, span);
  down_->record(*slot.free);
}

void CacheSlots::copy(Stream& stream, Direction direction, std::byte* to, const std::byte* from,
                      const std::vector<Run>& runs, Span* span) {
  Span* first = span;
  for (const Run& run : runs) {
    device_.copy(stream, direction, to + run.begin_bytes, from + run.begin_bytes, run.size_bytes,
                 std::exchange(first, nullptr));
    link_bytes_ += run.size_bytes;
  }
  if (span != nullptr && runs.size() > 1) stream.stamp(&span->end_seconds);
}

}  // namespace sluice
