#include "tests/cuda/emulation_shared.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

#include "memory/error.h"
#include "memory/units.h"

#if defined(__SANITIZE_ADDRESS__)
#define SLUICE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLUICE_ASAN 1
#endif
#endif
#ifdef SLUICE_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(begin, bytes) ((void)(begin), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(begin, bytes) ((void)(begin), (void)(bytes))
#endif

namespace sluice::emulation {
namespace {

constexpr std::size_t kZoneBytes = 64;  // and up to the next object
constexpr unsigned char kZoneByte = 0xC5;
constexpr std::size_t kMostObjects = 64;
constexpr std::size_t kArenaBytes = kSharedLimitBytes + (kMostObjects + 2) * 2 * kZoneBytes;

void* map_arena(void* at) {
  void* arena = mmap(at, kArenaBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | (at != nullptr ? MAP_FIXED : 0), -1, 0);
  if (arena == MAP_FAILED) throw std::bad_alloc();
  return arena;
}

}  // namespace

SharedMemory::SharedMemory() : bytes_(static_cast<unsigned char*>(map_arena(nullptr))) {
  objects_.reserve(kMostObjects);
}

SharedMemory::~SharedMemory() {
  ASAN_UNPOISON_MEMORY_REGION(bytes_, kArenaBytes);
  munmap(bytes_, kArenaBytes);
}

void SharedMemory::start(std::size_t dynamic_bytes) {
#ifdef SLUICE_TSAN_FIBERS
  map_arena(bytes_);  // the thread sanitizer forgets what the last block did here
#endif
  ASAN_UNPOISON_MEMORY_REGION(bytes_, kArenaBytes);
  std::memset(bytes_, 0xFF, kArenaBytes);
  std::memset(bytes_, kZoneByte, kZoneBytes);
  ASAN_POISON_MEMORY_REGION(bytes_, kArenaBytes);
  objects_.clear();
  used_bytes_ = 0;
  add(nullptr, "dynamic shared memory", kZoneBytes, dynamic_bytes);
}

void* SharedMemory::object(const void* key, std::size_t bytes, const char* name) {
  for (const Object& object : objects_) {
    if (object.key == key) return bytes_ + object.begin;
  }
  if (used_bytes_ + bytes > kSharedLimitBytes || objects_.size() == kMostObjects) return nullptr;
  add(key, name, objects_.back().zone_end, bytes);
  return bytes_ + objects_.back().begin;
}

void* SharedMemory::dynamic() const {
  return bytes_ + kZoneBytes;
}

// Byte by byte and volatile, so that no call of memset is made of it: the sanitizers would take
// that for an access by the kernel.
__attribute__((no_sanitize_address)) void SharedMemory::add(const void* key, const char* name,
                                                            std::size_t begin, std::size_t bytes) {
  const std::size_t end = begin + bytes;
  const std::size_t zone_end = align_up(end + kZoneBytes, kSharedAlignBytes);
  volatile unsigned char* arena = bytes_;
  for (std::size_t i = end; i < zone_end; ++i) arena[i] = kZoneByte;
  ASAN_UNPOISON_MEMORY_REGION(bytes_ + begin, bytes);
  objects_.push_back({key, name, begin, end, zone_end});
  used_bytes_ += bytes;
}

__attribute__((no_sanitize_address)) bool SharedMemory::is_intact(std::size_t zone_begin,
                                                                  std::size_t zone_end) const {
  const volatile unsigned char* arena = bytes_;
  for (std::size_t i = zone_begin; i < zone_end; ++i) {
    if (arena[i] != kZoneByte) return false;
  }
  return true;
}

std::optional<std::string> SharedMemory::overrun() const {
  std::size_t zone_begin = 0;
  for (const Object& object : objects_) {
    if (!is_intact(zone_begin, object.begin)) return text("before the begin of ", object.name);
    // What lies between two may be either's doing.
    const std::size_t behind_end = object.end + (object.zone_end - object.end) / 2;
    if (!is_intact(object.end, behind_end)) return text("behind the end of ", object.name);
    zone_begin = behind_end;
  }
  if (!is_intact(zone_begin, objects_.back().zone_end)) {
    return text("behind the end of ", objects_.back().name);
  }
  return std::nullopt;
}

}  // namespace sluice::emulation
