// Host memory that weights wait in: one region, locked in place where the system allows it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice {

// The bits of a list of numbers below 64 as the kernel writes it, "0-1,3"; 0 if it isn't one.
std::uint64_t parse_bit_list(std::string_view list);

// Owns an anonymous, page-aligned region, given back when it goes. Movable only by pointer. On a
// machine of several memory nodes its pages lie on all of them in turn, so that every thread reads
// with the bandwidth of all, whichever node it runs on.
class HostStore {
 public:
  // Throws Error{kIo} naming the size if the system has no such memory. With `lock` the pages are
  // locked as far as the system's limit allows; when it doesn't, warning() says which and how to
  // raise it, and the store goes on unlocked.
  HostStore(std::size_t bytes, bool lock);
  ~HostStore();
  HostStore(const HostStore&) = delete;
  HostStore& operator=(const HostStore&) = delete;

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t size_bytes() const { return size_bytes_; }
  bool locked() const { return locked_; }
  const std::string& warning() const { return warning_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_bytes_ = 0;
  bool locked_ = false;
  std::string warning_;
};

}  // namespace sluice
