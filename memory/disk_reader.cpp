#include "memory/disk_reader.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <span>
#include <thread>

#include "memory/clock.h"
#include "memory/packed.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr std::size_t kDirect = DirectFile::kAlignBytes;

std::size_t raw_bytes_for(std::size_t chunk_bytes) {
  return align_up(chunk_bytes + 2 * kDirect, kDirect);
}

}  // namespace

struct DiskReader::Worker {
  std::size_t index = 0;
  std::unique_ptr<ReadQueue> queue;
  std::array<Slot, kDepth> slots;
  std::array<std::size_t, kDepth> free;
  std::size_t free_count = 0;
  std::thread thread;
};

std::size_t DiskReader::memory_bytes(std::size_t part_bytes, std::size_t panel_bytes) {
  return kThreads * kDepth * raw_bytes_for(std::min(part_bytes, std::max(kReadBytes, panel_bytes)));
}

DiskReader::DiskReader(const ModelFile& file, const std::vector<std::vector<DiskRows>>& parts,
                       const std::vector<std::byte*>& buffers, MakeReadQueue make_queue)
    : file_(file), buffers_(buffers), requests_(std::make_unique<Request[]>(buffers.size())) {
  std::size_t files = 0;
  std::size_t largest = 0;
  for (const std::vector<DiskRows>& part : parts) {
    first_chunk_.push_back(chunks_.size());
    for (DiskRows rest : part) {
      const std::size_t row = row_bytes(rest.type, rest.columns);
      const std::size_t together =
          kPanelRows * std::max<std::size_t>(kReadBytes / (kPanelRows * row), 1);
      files = std::max(files, rest.file + 1);
      while (rest.rows > 0) {
        DiskRows now = rest;
        now.rows = std::min(rest.rows, together);
        chunks_.push_back({now, now.rows * row});
        largest = std::max(largest, chunks_.back().size_bytes);
        rest.rows -= now.rows;
        rest.begin_bytes += now.rows * row;
        rest.to_bytes += now.rows * row;  // a panel takes as much as its rows in the file
      }
    }
  }
  first_chunk_.push_back(chunks_.size());
  for (std::size_t i = 0; i < files; ++i) files_.emplace_back(file.file(i));
  raw_bytes_ = raw_bytes_for(largest);
  raw_ = std::make_unique<HostStore>(kThreads * kDepth * raw_bytes_);
  std::byte* memory = raw_->data();
  for (std::size_t i = 0; i < kThreads; ++i) {
    auto worker = std::make_unique<Worker>();
    worker->index = i;
    worker->queue = make_queue(kDepth);
    for (Slot& slot : worker->slots) {
      slot.memory = memory;
      memory += raw_bytes_;
      worker->free[worker->free_count] = worker->free_count;
      ++worker->free_count;
    }
    workers_.push_back(std::move(worker));
  }
  for (const auto& worker : workers_) {
    worker->thread = std::thread([this, w = worker.get()] {
      pthread_setname_np(pthread_self(), "disk");
      work(*w);
    });
  }
}

DiskReader::~DiskReader() {
  stop_.store(true);
  asked_.reach(asked_count_ + 1);  // wakes those who wait for a request
  for (const auto& worker : workers_) worker->thread.join();
}

void DiskReader::ask(std::size_t part) {
  assert(asked_count_ - taken_count_ < buffers_.size());
  Request& request = requests_[asked_count_ % buffers_.size()];
  request.part = part;
  request.asked_seconds = now_seconds();
  request.filling = request.filled.next();
  const std::size_t chunks = first_chunk_[part + 1] - first_chunk_[part];
  request.left.store(static_cast<std::uint32_t>(chunks + kThreads), std::memory_order_relaxed);
  asked_.reach(++asked_count_);
}

const std::byte* DiskReader::take(Span* span) {
  assert(taken_count_ != asked_count_);
  const std::size_t buffer = taken_count_++ % buffers_.size();
  Request& request = requests_[buffer];
  request.filled.synchronize();
  if (const std::uint64_t failure = failure_.load()) refuse(failure);
  // Parts are read one behind the other, though the next one's first reads go beside the last.
  const double begin = std::max(request.asked_seconds, last_end_seconds_);
  last_end_seconds_ = std::max(begin, request.filled.reached_seconds());
  if (span != nullptr) *span = {begin, last_end_seconds_};
  for (std::size_t c = first_chunk_[request.part]; c < first_chunk_[request.part + 1]; ++c) {
    read_bytes_ += chunks_[c].size_bytes;
  }
  return buffers_[buffer];
}

// Each thread takes every so many-th chunk. It comes by at every request, so that none is through,
// and its place taken by another, while a thread that is late has yet to look at it.
void DiskReader::work(Worker& worker) {
  std::uint32_t request_count = 0;  // gone through
  std::size_t next = 0;             // chunk of the request behind them
  for (;;) {
    while (worker.free_count > 0 && asked_.has_reached(request_count + 1) && !stop_.load()) {
      const std::size_t buffer = request_count % buffers_.size();
      Request& request = requests_[buffer];
      const std::size_t first = first_chunk_[request.part];
      const std::size_t chunks = first_chunk_[request.part + 1] - first;
      if (next == 0) next = (worker.index + kThreads - request_count % kThreads) % kThreads;
      if (next < chunks) {
        give(worker, chunks_[first + next], request, buffers_[buffer]);
        next += kThreads;
      }
      if (next >= chunks) {
        leave(request);
        next = 0;
        ++request_count;
      }
    }
    if (worker.free_count < kDepth) {
      finish(worker);
    } else if (stop_.load()) {
      return;
    } else {
      asked_.wait_for(request_count + 1);
    }
  }
}

void DiskReader::give(Worker& worker, const Chunk& chunk, Request& request, std::byte* buffer) {
  const std::size_t tag = worker.free[--worker.free_count];
  Slot& slot = worker.slots[tag];
  slot.chunk = &chunk;
  slot.request = &request;
  slot.buffer = buffer;
  const std::size_t begin = chunk.rows.begin_bytes / kDirect * kDirect;
  const std::size_t end = align_up(chunk.rows.begin_bytes + chunk.size_bytes, kDirect);
  worker.queue->submit({files_[chunk.rows.file].descriptor(), begin, slot.memory, end - begin},
                       tag);
}

// Waits for one read, and packs what it brought.
void DiskReader::finish(Worker& worker) {
  const ReadQueue::Done done = worker.queue->wait();
  const Slot& slot = worker.slots[done.tag];
  const Chunk& chunk = *slot.chunk;
  const std::size_t lead_bytes = chunk.rows.begin_bytes % kDirect;
  if (read_whole(slot, lead_bytes, done.result)) {
    const std::size_t row = row_bytes(chunk.rows.type, chunk.rows.columns);
    const std::byte* from = slot.memory + lead_bytes;
    std::byte* to = slot.buffer + chunk.rows.to_bytes;
    for (std::size_t r = 0; r < chunk.rows.rows; r += kPanelRows) {
      const std::size_t rows = std::min(kPanelRows, chunk.rows.rows - r);
      pack_panel(chunk.rows.type, from + r * row, rows, chunk.rows.columns, to + r * row);
    }
    files_[chunk.rows.file].forget(chunk.rows.begin_bytes, chunk.size_bytes);
  } else {
    fail(chunk, errno);
  }
  worker.free[worker.free_count++] = done.tag;
  leave(*slot.request);
}

// What came short, or was refused, is read again by position: that tells an end of the file from a
// file system that has its own idea of direct reads.
bool DiskReader::read_whole(const Slot& slot, std::size_t lead_bytes, ssize_t got) const {
  const Chunk& chunk = *slot.chunk;
  if (got >= 0 && static_cast<std::size_t>(got) >= lead_bytes + chunk.size_bytes) return true;
  const MappedFile& file = files_[chunk.rows.file].file();
  const std::size_t begin = chunk.rows.begin_bytes;
  if (!file.try_read(begin, {slot.memory + lead_bytes, chunk.size_bytes})) return false;
  file.forget(begin, chunk.size_bytes);
  return true;
}

void DiskReader::leave(Request& request) {
  if (request.left.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    request.filled.reach(request.filling);
  }
}

void DiskReader::fail(const Chunk& chunk, int code) {
  const auto index = static_cast<std::uint64_t>(&chunk - chunks_.data());
  std::uint64_t none = 0;
  failure_.compare_exchange_strong(none, (index + 1) << 32 | static_cast<std::uint32_t>(code));
}

void DiskReader::refuse(std::uint64_t failure) const {
  const Chunk& chunk = chunks_[(failure >> 32) - 1];
  file_.file(chunk.rows.file)
      .refuse_read(chunk.rows.begin_bytes + chunk.size_bytes,
                   static_cast<int>(failure & 0xffffffff));
}

}  // namespace sluice
