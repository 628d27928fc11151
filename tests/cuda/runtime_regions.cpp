#include "tests/cuda/runtime_regions.h"

#include <cstdlib>
#include <cstring>

#include "memory/error.h"
#include "memory/units.h"

namespace sluice::fake_cuda {

namespace {

constexpr std::size_t kAllocationAlignBytes = 512;
constexpr std::size_t kKeptBytes = 64_MiB;  // of freed memory

void* pointer(std::uintptr_t address) {
  return reinterpret_cast<void*>(address);
}

}  // namespace

std::string Region::name() const {
  switch (kind) {
    case Kind::kDevice:
      return text("device allocation ", number, " (", print_bytes(bytes), ")");
    case Kind::kPinned:
      return text("pinned allocation ", number, " (", print_bytes(bytes), ")");
    case Kind::kRegistered:
      break;
  }
  return text("registration ", number, " (", print_bytes(bytes), " of host memory)");
}

std::string Region::range(std::size_t first, std::size_t last) const {
  return text("bytes ", first, "..", last, " of ", name());
}

Region& Regions::add(Region::Kind kind, std::uintptr_t begin, std::size_t bytes) {
  if (kind != Region::Kind::kDevice) pinned_bytes_ += bytes;
  const Region region = {kind, begin, bytes, ++number_, false, History(bytes)};
  return regions_.emplace(begin, region).first->second;
}

Region* Regions::allocate(Region::Kind kind, std::size_t bytes) {
  void* const storage =
      std::aligned_alloc(kAllocationAlignBytes, align_up(bytes, kAllocationAlignBytes));
  if (storage == nullptr) return nullptr;
  std::memset(storage, 0xFF, bytes);
  return &add(kind, reinterpret_cast<std::uintptr_t>(storage), bytes);
}

Region& Regions::enter_registration(const void* begin, std::size_t bytes) {
  return add(Region::Kind::kRegistered, reinterpret_cast<std::uintptr_t>(begin), bytes);
}

void Regions::free(Region& region) {
  if (region.kind != Region::Kind::kDevice) pinned_bytes_ -= region.bytes;
  if (region.kind == Region::Kind::kRegistered) {
    regions_.erase(region.begin);
    return;
  }
  std::memset(pointer(region.begin), 0xFF, region.bytes);
  region.freed = true;
  freed_.push_back(region.begin);
  freed_bytes_ += region.bytes;
  while (freed_bytes_ > kKeptBytes) {
    const auto oldest = regions_.find(freed_.front());
    freed_bytes_ -= oldest->second.bytes;
    std::free(pointer(oldest->first));
    regions_.erase(oldest);
    freed_.pop_front();
  }
}

Region* Regions::find(const void* begin, std::size_t bytes) {
  const auto first = reinterpret_cast<std::uintptr_t>(begin);
  auto region = regions_.upper_bound(first);
  if (region != regions_.begin()) {
    const auto before = std::prev(region);
    if (first < before->second.end()) return &before->second;
  }
  if (region == regions_.end() || region->first >= first + bytes) return nullptr;
  return &region->second;
}

Region* Regions::beginning(const void* begin) {
  const auto region = regions_.find(reinterpret_cast<std::uintptr_t>(begin));
  if (region == regions_.end() || region->second.freed) return nullptr;
  return &region->second;
}

void Regions::clear() {
  for (const auto& [begin, region] : regions_) {
    if (region.kind != Region::Kind::kRegistered) std::free(pointer(begin));
  }
  regions_.clear();
  freed_.clear();
  freed_bytes_ = 0;
  pinned_bytes_ = 0;
  number_ = 0;
}

}  // namespace sluice::fake_cuda
