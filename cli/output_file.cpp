#include "cli/output_file.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <cstring>

#include "memory/error.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr std::size_t kNpyHeaderBytes = 128;

bool is_special_file(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode);
}

}  // namespace

OutputFile::OutputFile(std::string path) : path_(std::move(path)), fresh_path_(path_) {
  if (!is_special_file(path_)) fresh_path_ += text(".", getpid(), ".part");
  file_ = std::fopen(fresh_path_.c_str(), "wb");
  if (file_ == nullptr) fail();
}

OutputFile::~OutputFile() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  discard();
}

void OutputFile::write(const void* data, std::size_t bytes) {
  if (std::fwrite(data, 1, bytes, file_) != bytes) fail();
}

void OutputFile::rewrite(std::size_t at, const std::string& text) {
  if (std::fseek(file_, static_cast<long>(at), SEEK_SET) != 0) fail();
  write(text);
}

void OutputFile::require_space(std::size_t bytes) const {
  struct statvfs space {};
  if (fresh_path_ == path_ || fstatvfs(fileno(file_), &space) != 0) return;
  const std::size_t free_bytes = space.f_bavail * space.f_frsize;
  if (bytes <= free_bytes) return;
  throw Error(ErrorKind::kIo, text("can't write ", path_, ": it takes ", print_bytes(bytes),
                                   ", the disk has ", print_bytes(free_bytes), " free"));
}

void OutputFile::commit() {
  if (std::fflush(file_) != 0) fail();
  std::FILE* file = file_;
  file_ = nullptr;
  const bool closed = std::fclose(file) == 0;
  if (closed && fresh_path_ == path_) return;
  if (closed && std::rename(fresh_path_.c_str(), path_.c_str()) == 0) return;
  const int error = errno;
  discard();
  errno = error;
  fail();
}

void OutputFile::discard() const {
  if (fresh_path_ != path_) std::remove(fresh_path_.c_str());
}

void OutputFile::fail() const {
  throw Error(ErrorKind::kIo, text("can't write ", path_, ": ", std::strerror(errno)));
}

void write_file(const std::string& path, const std::string& content) {
  OutputFile file(path);
  file.write(content);
  file.commit();
}

NpyFile::NpyFile(std::string path, std::size_t columns)
    : file_(std::move(path)), columns_(columns) {
  file_.write(header());
}

void NpyFile::append(std::span<const float> row) {
  assert(row.size() == columns_);
  file_.write(row.data(), row.size_bytes());
  ++rows_;
}

void NpyFile::commit() {
  file_.rewrite(0, header());
  file_.commit();
}

// Of fixed size, so that it can be written again when the number of rows is known.
std::string NpyFile::header() const {
  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(kNpyHeaderBytes - 10);
  header += '\0';
  header +=
      text("{'descr': '<f4', 'fortran_order': False, 'shape': (", rows_, ", ", columns_, "), }");
  header.resize(kNpyHeaderBytes - 1, ' ');
  return header + '\n';
}

}  // namespace sluice
