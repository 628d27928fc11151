// A file read past the system's page cache, which is left to those who read something twice.
#pragma once

#include <cstddef>

#include "memory/mapped_file.h"

namespace sluice {

// Opens a mapped file anew for direct reads. A file system that knows none reads through the cache,
// and what was read is dropped from it behind the reader. Any thread may read.
class DirectFile {
 public:
  // Where a read begins, its length and its memory are multiples of this.
  static constexpr std::size_t kAlignBytes = 4096;

  // Throws Error{kIo}. The other file must outlive it.
  explicit DirectFile(const MappedFile& file);
  ~DirectFile();
  DirectFile(DirectFile&& other) noexcept;
  DirectFile& operator=(DirectFile&&) = delete;
  DirectFile(const DirectFile&) = delete;

  int descriptor() const { return descriptor_; }
  bool past_cache() const { return past_cache_; }
  const MappedFile& file() const { return file_; }
  // What was read of [begin, begin + bytes) isn't wanted again soon.
  void forget(std::size_t begin, std::size_t bytes) const noexcept;

 private:
  const MappedFile& file_;
  int descriptor_ = -1;
  bool past_cache_ = false;
};

}  // namespace sluice
