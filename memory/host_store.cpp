#include "memory/host_store.h"

#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>

#include "memory/error.h"
#include "memory/units.h"

namespace sluice {
namespace {

std::string lock_warning(std::size_t bytes, int error) {
  rlimit limit{};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  if (error == ENOMEM || error == EPERM) {
    return text("host memory isn't pinned: the limit for locked memory is ",
                print_bytes(limit.rlim_cur), ", the weights need ", print_bytes(bytes),
                "; raise it with `ulimit -l ", ceil_div(bytes, 1024),
                "` or in /etc/security/limits.conf (memlock)");
  }
  return text("host memory isn't pinned: ", std::strerror(error));
}

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

HostStore::HostStore(std::size_t bytes, bool lock) : size_bytes_(bytes) {
  if (bytes == 0) return;
  void* region = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (region == MAP_FAILED) {
    throw Error(ErrorKind::kIo, text("can't get ", print_bytes(bytes),
                                     " of host memory for the weights: ", std::strerror(errno)));
  }
  data_ = static_cast<std::byte*>(region);
  madvise(data_, bytes, MADV_HUGEPAGE);
  spread_over_nodes(data_, bytes);
  if (!lock) return;
  // On fault, so that loading fills the pages in parallel instead of the kernel zeroing them here.
  locked_ = mlock2(data_, bytes, MLOCK_ONFAULT) == 0;
  if (!locked_) warning_ = lock_warning(bytes, errno);
}

HostStore::~HostStore() {
  if (data_ != nullptr) munmap(data_, size_bytes_);
}

}  // namespace sluice
