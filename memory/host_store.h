// Host memory that weights wait in: one region, which a device may pin.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "memory/device.h"

namespace sluice {

// The bits of a list of numbers below 64 as the kernel writes it, "0-1,3"; 0 if it isn't one.
std::uint64_t parse_bit_list(std::string_view list);

// Owns an anonymous region that begins where a huge page does, given back when it goes. Movable
// only by pointer. On a machine of several memory nodes its pages lie on all of them in turn, so
// that every thread reads with the bandwidth of all, whichever node it runs on.
class HostStore {
 public:
  // Throws Error{kIo} naming the size if the system has no such memory.
  explicit HostStore(std::size_t bytes);
  // No copy of it may be under way.
  ~HostStore();
  HostStore(const HostStore&) = delete;
  HostStore& operator=(const HostStore&) = delete;

  // Once. The device must outlive the store; returns its warning.
  std::string pin(Device& device);

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t size_bytes() const { return size_bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_bytes_ = 0;
  Device* pinned_for_ = nullptr;
};

}  // namespace sluice
