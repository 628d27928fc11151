#include "memory/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

#include "memory/error.h"
#include "memory/printable.h"
#include "memory/units.h"

namespace sluice {

namespace {

[[noreturn]] void throw_errno(const std::filesystem::path& path, const char* doing) {
  const int code = errno;
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
};

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder; name the model file in it";
  if (S_ISFIFO(mode)) return "a FIFO; a model must be a regular file";
  if (S_ISSOCK(mode)) return "a socket; a model must be a regular file";
  return "a device; a model must be a regular file";
}

std::size_t page_bytes() {
  static const auto bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

// The bytes [begin, end) of a mapping, as madvise takes them.
void advise(const std::byte* data, std::size_t begin, std::size_t end, int advice) {
  if (begin >= end) return;
  // madvise takes a pointer to what it may write for other advice; with these two it never does.
  (void)::madvise(const_cast<std::byte*>(data) + begin, end - begin, advice);
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  // O_NONBLOCK: a FIFO without a writer would wait here for ever. It changes nothing for a file.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
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
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_bytes_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

void MappedFile::will_need(std::size_t begin, std::size_t size_bytes) const {
  const std::size_t from = std::min(begin, size_bytes_);
  const std::size_t end = from + std::min(size_bytes, size_bytes_ - from);
  advise(data_, from / page_bytes() * page_bytes(), end, MADV_WILLNEED);
}

void MappedFile::done_with(std::size_t begin, std::size_t size_bytes) const {
  const std::size_t from = std::min(begin, size_bytes_);
  const std::size_t end = from + std::min(size_bytes, size_bytes_ - from);
  // Whole pages only: a neighbour may still be read. The file's last page has no neighbour.
  const std::size_t last = end == size_bytes_ ? end : end / page_bytes() * page_bytes();
  advise(data_, align_up(from, page_bytes()), last, MADV_DONTNEED);
}

}  // namespace sluice
