// A file to be read: mapped, and by position.
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

  // Copies bytes from `begin` on, past the mapping: for what is read once, cheaper than mapping
  // pages, and safe where the file shrinks meanwhile. Any thread. False: check_read tells why.
  bool try_read(std::size_t begin, std::span<std::byte> to) const noexcept;
  // Throws what a read that failed had met, Error{kIo}.
  void check_read(std::size_t begin, std::span<std::byte> to) const;
  // Throws that a read up to `end` failed with an errno, or with 0: the file ended before.
  [[noreturn]] void refuse_read(std::size_t end, int code) const;
  // What was read of [begin, begin + bytes) need not stay in the page cache.
  void forget(std::size_t begin, std::size_t bytes) const noexcept;
  int descriptor() const { return descriptor_; }

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_bytes_ = 0;
  int descriptor_ = -1;
};

}  // namespace sluice
