#include "memory/host_store.h"

#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <cassert>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>

#include "memory/error.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr std::size_t kHugePageBytes = 2_MiB;

// Where the system refuses (a container may), pages lie where they are first touched.
void spread_over_nodes(std::byte* data, std::size_t bytes) {
  std::ifstream file("/sys/devices/system/node/has_memory");
  std::string list;
  std::getline(file, list);
  const unsigned long nodes = parse_bit_list(list);
  if (std::popcount(nodes) < 2) return;
  syscall(SYS_mbind, data, bytes, MPOL_INTERLEAVE, &nodes, 64UL, 0UL);
}

}  // namespace

std::uint64_t parse_bit_list(std::string_view list) {
  std::uint64_t bits = 0;
  const char* at = list.data();
  const char* end = at + list.size();
  while (at < end) {
    unsigned first = 0;
    auto [next, error] = std::from_chars(at, end, first);
    if (error != std::errc{}) return 0;
    unsigned last = first;
    if (next < end && *next == '-') {
      const auto range = std::from_chars(next + 1, end, last);
      if (range.ec != std::errc{}) return 0;
      next = range.ptr;
    }
    if (last < first || last >= 64) return 0;
    for (unsigned bit = first; bit <= last; ++bit) bits |= std::uint64_t{1} << bit;
    if (next < end && *next != ',') return 0;
    at = next < end ? next + 1 : end;
  }
  return bits;
}

// Of a region that begins between two huge pages, both ends are small pages: a disk that is handed
// every page by itself, as a virtual one is, fills those at half the speed. Not all systems see to
// it where a region begins, so more is mapped than wanted, and what lies around the region given
// back.
HostStore::HostStore(std::size_t bytes) : size_bytes_(bytes) {
  if (bytes == 0) return;
  const auto page_bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t pages_bytes = align_up(bytes, page_bytes);
  void* region = mmap(nullptr, pages_bytes + kHugePageBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (region == MAP_FAILED) {
    throw Error(ErrorKind::kIo, text("can't get ", print_bytes(bytes),
                                     " of host memory for the weights: ", std::strerror(errno)));
  }
  const auto address = reinterpret_cast<std::uintptr_t>(region);
  const std::size_t before_bytes = align_up(address, kHugePageBytes) - address;
  data_ = static_cast<std::byte*>(region) + before_bytes;
  if (before_bytes > 0) munmap(region, before_bytes);
  munmap(data_ + pages_bytes, kHugePageBytes - before_bytes);
  madvise(data_, bytes, MADV_HUGEPAGE);
  spread_over_nodes(data_, bytes);
}

HostStore::~HostStore() {
  if (data_ == nullptr) return;
  if (pinned_for_ != nullptr) pinned_for_->unpin(data_);
  munmap(data_, size_bytes_);
}

std::string HostStore::pin(Device& device) {
  if (data_ == nullptr) return {};
  assert(pinned_for_ == nullptr);
  pinned_for_ = &device;
  return device.pin(data_, size_bytes_);
}

}  // namespace sluice
