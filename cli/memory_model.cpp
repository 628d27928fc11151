#include "cli/memory_model.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "cli/machine_load.h"
#include "memory/error.h"
#include "memory/units.h"

namespace sluice {
namespace {

void write_all(int file, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      throw Error(ErrorKind::kIo, text("a model in memory: ", std::strerror(errno)));
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

}  // namespace

MemoryModel::MemoryModel(const SyntheticModel& model, const Progress& progress,
                         const std::atomic<bool>* stop)
    : file_(::memfd_create("sluice model", MFD_CLOEXEC)) {
  const std::size_t needed = 2 * model.file_bytes();
  if (const auto available = available_memory_bytes(); needed > available.value_or(needed)) {
    ::close(file_);
    throw Error(ErrorKind::kIo,
                text("the model and its packed weights take ", print_bytes(needed),
                     " of memory, there are ", print_bytes(*available),
                     "; choose a smaller shape or type, or write a file with sluice synth"));
  }
  try {
    model.write([this](std::span<const std::byte> bytes) { write_all(file_, bytes); }, progress,
                stop);
  } catch (...) {
    ::close(file_);
    throw;
  }
}

MemoryModel::MemoryModel(const SyntheticModel& model, HeaderOnly)
    : file_(::memfd_create("sluice model", MFD_CLOEXEC)) {
  try {
    write_all(file_, std::as_bytes(std::span(model.header())));
    if (::ftruncate(file_, static_cast<off_t>(model.file_bytes())) != 0) {
      throw Error(ErrorKind::kIo, text("a model in memory: ", std::strerror(errno)));
    }
  } catch (...) {
    ::close(file_);
    throw;
  }
}

MemoryModel::~MemoryModel() {
  ::close(file_);
}

std::filesystem::path MemoryModel::path() const {
  return text("/proc/self/fd/", file_);
}

}  // namespace sluice
