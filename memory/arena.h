// Device memory under one hard limit, taken whole at start and lent in parts.
#pragma once

#include <cstddef>
#include <string_view>

#include "memory/device.h"

namespace sluice {

// Owns the device's reservation. Loans are given in order and last as long as the arena: a plan
// says beforehand what there will be, and nothing is taken later. Used by one thread.
class Arena {
 public:
  // Reserves `limit_bytes` of `device`, which must outlive it. Throws as Device::reserve does.
  Arena(Device& device, std::size_t limit_bytes)
      : begin_(device.reserve(limit_bytes)), limit_bytes_(limit_bytes) {}

  // Lends `bytes`, rounded up to kAlignBytes. Throws Error{kInternal} naming `what` past the limit:
  // a plan that was wrong about itself.
  std::byte* lend(std::size_t bytes, std::string_view what);
  template <typename T>
  T* lend_array(std::size_t count, std::string_view what) {
    return reinterpret_cast<T*>(lend(count * sizeof(T), what));
  }

  std::size_t limit_bytes() const { return limit_bytes_; }
  std::size_t lent_bytes() const { return lent_bytes_; }

 private:
  std::byte* begin_;
  std::size_t limit_bytes_;
  std::size_t lent_bytes_ = 0;
};

}  // namespace sluice
