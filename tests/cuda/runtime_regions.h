// The memory that the stand-in knows of: what was allocated or registered, and what was freed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>

#include "tests/cuda/runtime_history.h"

namespace sluice::fake_cuda {

struct Region {
  enum class Kind { kDevice, kPinned, kRegistered };

  Kind kind;
  std::uintptr_t begin;
  std::size_t bytes;
  int number;  // counts all regions, in the order they were made
  bool freed = false;
  History history;

  std::uintptr_t end() const { return begin + bytes; }
  // "device allocation 3 (1.00 KiB)"
  std::string name() const;
  // "bytes 0..256 of device allocation 3 (1.00 KiB)"
  std::string range(std::size_t first, std::size_t last) const;
};

// Owns what it allocates. Memory is full of 0xFF when it is allocated and again when it is freed,
// and is kept for a while after, so that a late use is known for what it is.
class Regions {
 public:
  Regions() = default;
  ~Regions() { clear(); }
  Regions(const Regions&) = delete;
  Regions& operator=(const Regions&) = delete;

  // Null if the host has no memory left.
  Region* allocate(Region::Kind kind, std::size_t bytes);
  Region& enter_registration(const void* begin, std::size_t bytes);
  void free(Region& region);  // forgets a registration at once

  // The first region, freed ones among them, that has any of these bytes; null if there is none.
  Region* find(const void* begin, std::size_t bytes);
  // The one that begins here and isn't freed.
  Region* beginning(const void* begin);

  std::size_t pinned_bytes() const { return pinned_bytes_; }
  const std::map<std::uintptr_t, Region>& all() const { return regions_; }
  void clear();

 private:
  Region& add(Region::Kind kind, std::uintptr_t begin, std::size_t bytes);

  std::map<std::uintptr_t, Region> regions_;  // by first byte; none overlap
  std::deque<std::uintptr_t> freed_;          // oldest first
  std::size_t freed_bytes_ = 0;
  std::size_t pinned_bytes_ = 0;
  int number_ = 0;
};

}  // namespace sluice::fake_cuda
