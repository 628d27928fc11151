// A read-only mapping of a file.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace sluice {

// Owns the mapping. Throws Error{kIo} for what can't be opened or is not a regular file (a folder,
// a FIFO, a device), Error{kBadFile} for an empty one. Never blocks on a FIFO. Movable.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_bytes_}; }
  const std::filesystem::path& path() const { return path_; }

  // Tells the system that [begin, begin + size) is read soon, or won't be read again (the pages
  // then leave this process's memory but stay in the page cache). Advice: failures are ignored.
  void will_need(std::size_t begin, std::size_t size_bytes) const;
  void done_with(std::size_t begin, std::size_t size_bytes) const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_bytes_ = 0;
};

}  // namespace sluice
