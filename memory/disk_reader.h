// Matrices that stay in their file: read, and packed into buffers, ahead of those who want them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "memory/device.h"
#include "memory/direct_file.h"
#include "memory/dtype.h"
#include "memory/host_store.h"
#include "memory/host_stream.h"
#include "memory/model_file.h"
#include "memory/read_queue.h"
#include "memory/units.h"

namespace sluice {

// Some consecutive rows of a matrix, from the first of a panel on, and where their panels go.
struct DiskRows {
  std::size_t file = 0;         // of the model file's
  std::size_t begin_bytes = 0;  // from that file's start
  std::size_t rows = 0;
  DType type = DType::kF32;
  std::size_t columns = 0;
  std::size_t to_bytes = 0;  // from the buffer's start
};

// A few threads read parts in the order in which they were asked for, each in chunks of which
// several are in flight, into memory of their own, and pack them from there into the buffers. Asked
// by one thread. Allocates nothing, and takes no lock, after construction.
class DiskReader {
 public:
  static constexpr std::size_t kThreads = 4;
  static constexpr std::size_t kDepth = 4;  // reads in flight for each thread
  static constexpr std::size_t kReadBytes = 512_KiB;

  // parts[i]: what part i is made of. The buffers must outlive the reader. Throws Error{kIo}.
  DiskReader(const ModelFile& file, const std::vector<std::vector<DiskRows>>& parts,
             const std::vector<std::byte*>& buffers, MakeReadQueue make_queue = ReadQueue::make);
  // Waits for what is being read.
  ~DiskReader();
  DiskReader(const DiskReader&) = delete;
  DiskReader& operator=(const DiskReader&) = delete;

  // Reads a part into the next buffer in turn, which nobody may use any more.
  void ask(std::size_t part);
  // Blocks until the oldest part not taken is there, and tells where, and when the disk was busy
  // with it. Throws Error{kIo} if it can't be read, then and ever after.
  const std::byte* take(Span* span);

  std::size_t read_bytes() const { return read_bytes_; }
  // Of host memory, beside the buffers, at most: for parts of `part_bytes`, none of whose panels is
  // larger than `panel_bytes`.
  static std::size_t memory_bytes(std::size_t part_bytes, std::size_t panel_bytes);

 private:
  // What is read at once: whole panels.
  struct Chunk {
    DiskRows rows;
    std::size_t size_bytes;
  };
  struct Request {
    std::size_t part = 0;
    double asked_seconds = 0.0;
    std::atomic<std::uint32_t> left{0};  // chunks, and threads that haven't come by
    HostEvent filled;
    std::uint32_t filling = 0;  // the recording of `filled` that says so
  };
  struct Slot {
    std::byte* memory = nullptr;
    const Chunk* chunk = nullptr;
    Request* request = nullptr;
    std::byte* buffer = nullptr;
  };
  struct Worker;

  void work(Worker& worker);
  void give(Worker& worker, const Chunk& chunk, Request& request, std::byte* buffer);
  void finish(Worker& worker);
  void leave(Request& request);
  bool read_whole(const Slot& slot, std::size_t lead_bytes, ssize_t got) const;
  void fail(const Chunk& chunk, int code);
  [[noreturn]] void refuse(std::uint64_t failure) const;

  const ModelFile& file_;
  std::vector<DirectFile> files_;
  std::vector<Chunk> chunks_;
  std::vector<std::size_t> first_chunk_;  // [parts + 1]
  std::vector<std::byte*> buffers_;
  std::unique_ptr<Request[]> requests_;  // [buffers]
  std::size_t raw_bytes_ = 0;            // of each read's memory
  std::unique_ptr<HostStore> raw_;
  HostEvent asked_;  // recorded once for each request
  std::uint32_t asked_count_ = 0;
  std::uint32_t taken_count_ = 0;
  double last_end_seconds_ = 0.0;
  std::size_t read_bytes_ = 0;
  std::atomic<std::uint64_t> failure_{0};  // (chunk + 1) << 32 | errno, of the first
  std::atomic<bool> stop_{false};
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace sluice
