#include "memory/direct_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "memory/error.h"
#include "memory/printable.h"

namespace sluice {

// By its descriptor, for what the path names may be another file by now.
DirectFile::DirectFile(const MappedFile& file) : file_(file) {
  const std::string same = text("/proc/self/fd/", file.descriptor());
  descriptor_ = ::open(same.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
  past_cache_ = descriptor_ >= 0;
  if (!past_cache_) descriptor_ = ::fcntl(file.descriptor(), F_DUPFD_CLOEXEC, 0);
  if (descriptor_ < 0) {
    throw Error(ErrorKind::kIo, text(printable_path(file.path()), ": cannot open it again: ",
                                     std::generic_category().message(errno)));
  }
}

DirectFile::~DirectFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

DirectFile::DirectFile(DirectFile&& other) noexcept
    : file_(other.file_),
      descriptor_(std::exchange(other.descriptor_, -1)),
      past_cache_(other.past_cache_) {}

void DirectFile::forget(std::size_t begin, std::size_t bytes) const noexcept {
  if (!past_cache_) file_.forget(begin, bytes);
}

}  // namespace sluice
