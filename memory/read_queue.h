// Reads in flight: several are given, and come back in the order in which the disk has them.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <string_view>

namespace sluice {

struct FileRead {
  int descriptor;
  std::size_t begin_bytes;
  std::byte* to;
  std::size_t size_bytes;
};

// Used by one thread. Allocates nothing after it was made.
class ReadQueue {
 public:
  struct Done {
    std::size_t tag;
    ssize_t result;  // bytes read, fewer at the file's end; or -errno
  };

  // Of io_uring where the system lets us have it; else reads happen while they are waited for.
  static std::unique_ptr<ReadQueue> make(std::size_t depth);
  // Without io_uring.
  static std::unique_ptr<ReadQueue> make_plain(std::size_t depth);

  virtual ~ReadQueue() = default;
  virtual std::string_view name() const = 0;
  // At most `depth` reads may be given and not come back; they must all before the queue goes.
  virtual void submit(const FileRead& read, std::size_t tag) = 0;
  // Blocks until one is through. There must be one.
  virtual Done wait() = 0;
};

using MakeReadQueue = std::unique_ptr<ReadQueue> (*)(std::size_t depth);

}  // namespace sluice
