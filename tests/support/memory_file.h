// A file without a folder, for tests that rewrite one many thousand times.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>

namespace sluice::testing {

class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : number_(::memfd_create("test", MFD_CLOEXEC)) {
    put(0, bytes);
  }
  ~MemoryFile() { ::close(number_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::filesystem::path path() const { return "/proc/self/fd/" + std::to_string(number_); }
  void put(std::size_t at, std::string_view bytes) {
    const auto written = ::pwrite(number_, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (written != static_cast<ssize_t>(bytes.size())) throw std::runtime_error("pwrite failed");
  }
  void resize(std::size_t size_bytes) {
    if (::ftruncate(number_, static_cast<off_t>(size_bytes)) != 0) {
      throw std::runtime_error("ftruncate failed");
    }
  }

 private:
  int number_;
};

}  // namespace sluice::testing
