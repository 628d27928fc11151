// Pages in host memory that the device attends to: a ring of slots, each for one layer's part of
// the pages, and a stream back for what a pass adds to them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "memory/device.h"
#include "memory/kv_pages.h"
#include "offload/pass_input.h"
#include "offload/sequence.h"

namespace sluice {

// A page lies as far from a slot's beginning as from its layer's in host memory, so that page
// tables are the same for both. Copies of a page are ordered by slots: what goes up waits for the
// slot's last reader, whose pages are back in host memory by then. With as many slots as layers, or
// fewer, that is behind what the pass before added.
class CacheSlots {
 public:
  // Borrows `slots` buffers, one behind the other at `memory`, and the others; `up` is where copies
  // to the device go. At most `layout.layers` slots, of at most so many layers.
  CacheSlots(Device& device, Stream& compute, Stream& up, std::byte* memory, std::size_t slots,
             const KvLayout& layout);

  // What follows is for a pass of these parts: pages that hold keys of tokens before them go up,
  // those that they add to come back.
  void begin_pass(std::span<const PassPart> parts, const std::vector<Sequence>& sequences);
  // Whether any go up.
  bool sends_any() const { return !before_.empty(); }
  // The host has attended, at its turn on the compute stream: copies up wait for that.
  void wait_for_host();
  // Work given to the compute stream from here on finds in host memory what this pass adds.
  void end_pass();

  // Sends a layer's pages, which begin at `home`, to the next slot. At most as many layers as there
  // are slots may be sent and not yet brought back. `span` is told when the link was busy with
  // them; it may be null.
  void send(const std::byte* home, Span* span);
  // Where the oldest not taken yet lies, for work given to the compute stream from here on.
  std::byte* take();
  // The taken one has been read and added to by the work given so far; `home` gets what was added.
  void bring_back(std::byte* home, Span* span);

  // Both ways.
  std::size_t link_bytes() const { return link_bytes_; }

 private:
  // Pages with consecutive numbers.
  struct Run {
    std::size_t begin_bytes;
    std::size_t size_bytes;
  };
  struct Slot {
    std::byte* memory;
    std::unique_ptr<Event> ready;
    std::unique_ptr<Event> used;
    std::unique_ptr<Event> free;
  };

  void add_runs(const Sequence& sequence, std::size_t first_page, std::size_t end_page,
                std::vector<Run>& runs) const;
  void copy(Stream& stream, Direction direction, std::byte* to, const std::byte* from,
            const std::vector<Run>& runs, Span* span);

  Device& device_;
  Stream& compute_;
  Stream& up_;
  const std::size_t page_bytes_;
  std::vector<Run> before_;  // of the pass
  std::vector<Run> added_;
  std::size_t sent_ = 0;
  std::size_t taken_ = 0;
  std::size_t brought_back_ = 0;
  std::size_t link_bytes_ = 0;
  std::vector<Slot> slots_;
  std::unique_ptr<Event> host_turn_;
  std::unique_ptr<Stream> down_;  // goes first: it ends its work, which uses the slots
};

}  // namespace sluice
