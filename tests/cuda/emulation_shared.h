// A block's shared memory: filled with 0xFF at its start (NaN, -1), with zones around each object
// that nobody may touch. The address sanitizer catches who does; without it, writes show at the
// block's end.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace sluice::emulation {

constexpr std::size_t kSharedLimitBytes = 48 << 10;
constexpr std::size_t kSharedAlignBytes = 64;

class SharedMemory {
 public:
  SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  ~SharedMemory();

  // For a new block.
  void start(std::size_t dynamic_bytes);

  // The block's object `key`, which is made at the first call. nullptr: more than 48 KiB together.
  void* object(const void* key, std::size_t bytes, const char* name);
  void* dynamic() const;

  // Names an object of the block before or behind which was written.
  std::optional<std::string> overrun() const;

 private:
  struct Object {
    const void* key;
    const char* name;
    std::size_t begin;
    std::size_t end;
    std::size_t zone_end;
  };

  // Adds an object with the zone behind it.
  void add(const void* key, const char* name, std::size_t begin, std::size_t bytes);
  bool is_intact(std::size_t zone_begin, std::size_t zone_end) const;

  unsigned char* bytes_ = nullptr;
  std::size_t used_bytes_ = 0;  // by objects, without zones
  std::vector<Object> objects_;
};

// Of the block that the calling thread is in.
void* shared_object(const void* key, std::size_t bytes, const char* name);
void* dynamic_shared_bytes();

}  // namespace sluice::emulation

// The object is found by the address of a static: one for each declaration and instantiation.
#define SLUICE_SHARED(type, name, extents)                                       \
  typedef type name##_type extents;                                              \
  static_assert(alignof(name##_type) <= ::sluice::emulation::kSharedAlignBytes); \
  static char name##_key;                                                        \
  auto& name = *static_cast<name##_type*>(                                       \
      ::sluice::emulation::shared_object(&name##_key, sizeof(name##_type), #name))

namespace sluice {

template <typename T>
T* dynamic_shared() {
  return static_cast<T*>(emulation::dynamic_shared_bytes());
}

}  // namespace sluice
