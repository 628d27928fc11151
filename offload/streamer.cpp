#include "offload/streamer.h"

#include <cassert>

#include "memory/units.h"

namespace sluice {

Streamer::Streamer(Device& device, Stream& compute, std::byte* memory, std::size_t slots,
                   std::size_t slot_bytes)
    : device_(device), compute_(compute) {
  for (std::size_t slot = 0; slot < slots; ++slot) {
    slots_.push_back(
        {memory + slot * align_up(slot_bytes), device.make_event(), device.make_event()});
  }
  link_ = device.make_stream("link-up");
}

void Streamer::send(const std::byte* from, std::size_t bytes, Span* span) {
  assert(sent_ - released_ < slots_.size());
  Slot& slot = slots_[sent_++ % slots_.size()];
  link_->wait(*slot.free);
  device_.copy(*link_, Direction::kToDevice, slot.memory, from, bytes, span);
  link_->record(*slot.ready);
  link_bytes_ += bytes;
}

const std::byte* Streamer::take() {
  assert(taken_ < sent_);
  Slot& slot = slots_[taken_++ % slots_.size()];
  compute_.wait(*slot.ready);
  return slot.memory;
}

void Streamer::release() {
  assert(released_ < taken_);
  compute_.record(*slots_[released_++ % slots_.size()].free);
}

}  // namespace sluice
