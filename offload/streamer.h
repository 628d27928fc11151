// Pieces of weights on their way to the device: a ring of slots, a copy stream, and their events.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "memory/device.h"

namespace sluice {

// Pieces are taken in the order in which they were sent. Neither call blocks the host: a copy waits
// on its stream for the slot's last reader, a reader on its own for the copy.
class Streamer {
 public:
  // Borrows `slots` buffers of `slot_bytes`, one behind the other at `memory`, and both others.
  Streamer(Device& device, Stream& compute, std::byte* memory, std::size_t slots,
           std::size_t slot_bytes);

  // Sends a piece to the next slot. At most `slots` pieces may be sent and not yet released. `span`
  // is told when the link was busy with it.
  void send(const std::byte* from, std::size_t bytes, Span* span);
  // Where the oldest piece not taken yet lies, for work given to the compute stream from here on.
  const std::byte* take();
  // The taken piece has been read by the work given so far.
  void release();

  // Where the copies are.
  Stream& link() { return *link_; }

  std::size_t link_bytes() const { return link_bytes_; }

 private:
  struct Slot {
    std::byte* memory;
    std::unique_ptr<Event> ready;
    std::unique_ptr<Event> free;
  };

  Device& device_;
  Stream& compute_;
  std::size_t sent_ = 0;
  std::size_t taken_ = 0;
  std::size_t released_ = 0;
  std::size_t link_bytes_ = 0;
  std::vector<Slot> slots_;
  std::unique_ptr<Stream> link_;  // goes first: it ends its work, which uses the slots
};

}  // namespace sluice
