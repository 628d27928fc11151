// Compiled without the thread sanitizer even where the rest is with it (see CMakeLists.txt, which
// then defines SLUICE_TSAN_FIBERS): a function can't be entered as one fiber and left as another.
#include "tests/cuda/emulation_fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <boost/context/detail/fcontext.hpp>
#include <new>

#ifdef SLUICE_TSAN_FIBERS
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}
#endif

namespace sluice::emulation {
namespace {

using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

#if defined(SLUICE_ASAN_FIBERS)
constexpr std::size_t kStackBytes = 256 << 10;
#elif defined(SLUICE_TSAN_FIBERS)
constexpr std::size_t kStackBytes = 128 << 10;
#else
constexpr std::size_t kStackBytes = 64 << 10;
#endif

}  // namespace

struct Fiber::Entry {
  __attribute__((no_sanitize_address)) static void enter(transfer_t came) {
    Fiber* self = static_cast<Fiber*>(came.data)->next_;
    self->arrive(came);
    self->main_(self->owner_, *self);
    __builtin_trap();
  }
};

Fiber::Fiber(void (*main)(void* owner, Fiber& self), void* owner)
    : stack_bytes_(kStackBytes), main_(main), owner_(owner) {
  const auto guard_bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  mapping_ = mmap(nullptr, guard_bytes + kStackBytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping_ == MAP_FAILED) throw std::bad_alloc();
  mprotect(mapping_, guard_bytes, PROT_NONE);
  auto* begin = static_cast<std::byte*>(mapping_) + guard_bytes;
  stack_begin_ = begin;
  // Stacks begin at different offsets in their pages, or all would compete for the same few lines
  // of the cache.
  static std::atomic<std::size_t> count = 0;
  const std::size_t offset_bytes = count++ * 320 % 4096 / 64 * 64;
  context_ =
      make_fcontext(begin + kStackBytes - offset_bytes, kStackBytes - offset_bytes, &Entry::enter);
#ifdef SLUICE_TSAN_FIBERS
  tsan_fiber_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
  if (mapping_ == nullptr) return;
#ifdef SLUICE_TSAN_FIBERS
  __tsan_destroy_fiber(tsan_fiber_);
#endif
  munmap(mapping_, static_cast<std::size_t>(sysconf(_SC_PAGESIZE)) + kStackBytes);
}

void Fiber::adopt() {
#ifdef SLUICE_TSAN_FIBERS
  tsan_fiber_ = __tsan_get_current_fiber();
#endif
}

void release_to_others([[maybe_unused]] void* at) {
#ifdef SLUICE_TSAN_FIBERS
  __tsan_release(at);
#endif
}

void acquire_from_others([[maybe_unused]] void* at) {
#ifdef SLUICE_TSAN_FIBERS
  __tsan_acquire(at);
#endif
}

}  // namespace sluice::emulation
