#include "memory/host_store.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstring>

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

}  // namespace

HostStore::HostStore(std::size_t bytes, bool lock) : size_bytes_(bytes) {
  if (bytes == 0) return;
  void* region = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (region == MAP_FAILED) {
    throw Error(ErrorKind::kIo, text("can't get ", print_bytes(bytes),
                                     " of host memory for the weights: ", std::strerror(errno)));
  }
  data_ = static_cast<std::byte*>(region);
  madvise(data_, bytes, MADV_HUGEPAGE);
  if (!lock) return;
  // On fault, so that loading fills the pages in parallel instead of the kernel zeroing them here.
  locked_ = mlock2(data_, bytes, MLOCK_ONFAULT) == 0;
  if (!locked_) warning_ = lock_warning(bytes, errno);
}

HostStore::~HostStore() {
  if (data_ != nullptr) munmap(data_, size_bytes_);
}

}  // namespace sluice
