// Pieces that lie on the disk, on their way to where they are used: a ring of pinned buffers, and
// the reader that fills them ahead.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "memory/device.h"
#include "memory/disk_reader.h"
#include "memory/host_store.h"
#include "memory/read_queue.h"
#include "offload/plan.h"
#include "offload/schedule.h"
#include "offload/streamer.h"

namespace sluice {

// Every pass takes the pieces in their order, the head's only if it wants logits. So what the next
// pass begins with is read before it begins. Used by one thread; streams that copy from its buffers
// must have ended before it goes.
class DiskStage {
 public:
  // Begins to read. Borrows all of it.
  DiskStage(const ModelFile& file, const ModelLayout& layout, const Plan& plan,
            const Schedule& schedule, Device& device, MakeReadQueue make_queue);

  void begin_pass(bool logits);
  // Blocks until the next piece, which is `piece`, has been read. Of the first of those that are
  // read together, `span` is told when the disk was busy with them; of others nothing. Throws as
  // DiskReader::take does.
  const std::byte* take(std::uint32_t piece, Span* span);
  // What was taken is read by work that `stream` has been given.
  void release(Stream& stream);

  std::size_t read_bytes() const { return reader_.read_bytes(); }
  const std::string& warning() const { return warning_; }

 private:
  bool ask_next();
  void read_ahead();

  const Schedule& schedule_;
  std::vector<std::uint32_t> parts_;  // their first pieces, in order: the head's are last
  std::size_t before_head_ = 0;       // parts that every pass takes
  std::size_t buffers_;
  HostStore memory_;
  std::string warning_;
  std::vector<std::unique_ptr<Event>> copied_;  // [buffers]
  DiskReader reader_;
  const std::byte* part_ = nullptr;  // being taken
  std::uint32_t piece_ = 0;          // of it, taken last
  std::size_t asked_ = 0;            // these two count parts from the first pass on
  std::size_t released_ = 0;
  std::size_t next_ = 0;       // part of this pass to be asked for
  std::size_t pass_end_ = 0;   // parts that this pass takes
  std::size_t next_pass_ = 0;  // parts of the pass behind it that have been asked for
};

}  // namespace sluice
