#include "memory/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "memory/error.h"
#include "memory/printable.h"
#include "memory/units.h"

namespace sluice {

namespace {

[[noreturn]] void throw_errno(const std::filesystem::path& path, const char* doing,
                              int code = errno) {
  throw Error(ErrorKind::kIo,
              text(printable_path(path), ": ", doing, ": ", std::generic_category().message(code)));
}

// A file descriptor that closes itself.
struct Descriptor {
  int number;
  explicit Descriptor(int fd) : number(fd) {}
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int release() { return std::exchange(number, -1); }
};

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder; name the model file in it";
  if (S_ISFIFO(mode)) return "a FIFO; a model must be a regular file";
  if (S_ISSOCK(mode)) return "a socket; a model must be a regular file";
  return "a device; a model must be a regular file";
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  // O_NONBLOCK: a FIFO without a writer would wait here for ever. It changes nothing for a file.
  Descriptor file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
  if (file.number < 0) throw_errno(path, "cannot open");
  struct stat status {};
  if (::fstat(file.number, &status) != 0) throw_errno(path, "cannot read its size");
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorKind::kIo, text(printable_path(path), " is ", kind_of(status.st_mode)));
  }
  if (status.st_size == 0) {
    throw Error(ErrorKind::kBadFile,
                text(printable_path(path), " is empty, a model file is expected"));
  }
  const auto size_bytes = static_cast<std::size_t>(status.st_size);
  void* data = ::mmap(nullptr, size_bytes, PROT_READ, MAP_SHARED, file.number, 0);
  if (data == MAP_FAILED) throw_errno(path, "cannot map");
  data_ = static_cast<const std::byte*>(data);
  size_bytes_ = size_bytes;
  descriptor_ = file.release();
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_bytes_);
  if (descriptor_ >= 0) ::close(descriptor_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

bool MappedFile::try_read(std::size_t begin, std::span<std::byte> to) const noexcept {
  while (!to.empty()) {
    const ssize_t got = ::pread(descriptor_, to.data(), to.size(), static_cast<off_t>(begin));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      errno = got == 0 ? 0 : errno;
      return false;
    }
    begin += static_cast<std::size_t>(got);
    to = to.subspan(static_cast<std::size_t>(got));
  }
  return true;
}

void MappedFile::check_read(std::size_t begin, std::span<std::byte> to) const {
  if (!try_read(begin, to)) refuse_read(begin + to.size(), errno);
}

void MappedFile::refuse_read(std::size_t end, int code) const {
  if (code != 0) throw_errno(path_, "cannot read", code);
  throw Error(ErrorKind::kIo, text(printable_path(path_), " ends before byte ", end,
                                   ": it became shorter while it was read"));
}

void MappedFile::forget(std::size_t begin, std::size_t bytes) const noexcept {
  ::posix_fadvise(descriptor_, static_cast<off_t>(begin), static_cast<off_t>(bytes),
                  POSIX_FADV_DONTNEED);
}

}  // namespace sluice
