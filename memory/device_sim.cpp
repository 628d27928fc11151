#include "memory/device_sim.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <cstring>

#include "memory/error.h"
#include "memory/host_stream.h"
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

DeviceSim::DeviceSim(const SimOptions& options)
    : options_(options), to_device_(options.to_device), to_host_(options.to_host) {}

DeviceSim::~DeviceSim() {
  if (mapping_ != nullptr) munmap(mapping_, mapping_bytes_);
}

std::byte* DeviceSim::reserve(std::size_t bytes) {
  assert(mapping_ == nullptr && "a device's memory is taken once");
  if (bytes > options_.limit_bytes) {
    throw Error(ErrorKind::kOverBudget, text("the simulated device has ", options_.limit_bytes,
                                             " bytes, the plan takes ", bytes));
  }
  const auto page_bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t used_bytes = align_up(bytes);
  const std::size_t body_bytes = align_up(used_bytes, page_bytes);
  mapping_bytes_ = body_bytes + page_bytes;
  void* mapping =
      mmap(nullptr, mapping_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) {
    throw Error(ErrorKind::kOverBudget, text("can't get ", print_bytes(bytes),
                                             " for the simulated device: ", std::strerror(errno),
                                             "; lower --vram or --ctx"));
  }
  mapping_ = static_cast<std::byte*>(mapping);
  mprotect(mapping_ + body_bytes, page_bytes, PROT_NONE);
  madvise(mapping_, body_bytes, MADV_HUGEPAGE);
  reserved_bytes_ = bytes;
  if (options_.on_reserve) options_.on_reserve(bytes);
  return mapping_ + (body_bytes - used_bytes);
}

std::unique_ptr<Stream> DeviceSim::make_stream(std::string_view name) {
  return std::make_unique<HostStream>(
      options_.in_place ? HostStream::Mode::kInline : HostStream::Mode::kThread, name);
}

std::unique_ptr<Event> DeviceSim::make_event() {
  return std::make_unique<HostEvent>();
}

// On fault, so that memory that hasn't been touched yet isn't filled with zeros here.
std::string DeviceSim::pin(std::byte* begin, std::size_t bytes) {
  if (options_.in_place || mlock2(begin, bytes, MLOCK_ONFAULT) == 0) return {};
  return lock_warning(bytes, errno);
}

void DeviceSim::unpin(std::byte* begin) {
  (void)begin;  // unlocked as it is unmapped
}

void DeviceSim::copy(Stream& stream, Direction direction, std::byte* to, const std::byte* from,
                     std::size_t bytes, Span* span) {
  auto* queue = static_cast<HostStream*>(&stream);
  Link* link = direction == Direction::kToDevice ? &to_device_ : &to_host_;
  queue->enqueue_paced([=](double ready_seconds) {
    const Span busy = link->copy(to, from, bytes, ready_seconds, &queue->due_seconds());
    if (span != nullptr) *span = busy;
    return busy.end_seconds;
  });
}

// On the thread that computes what surrounds it: a second one, and the workers that have to come to
// it, often find themselves on one core while another is idle, for as long as a layer takes.
void DeviceSim::call(Stream& stream, Event& turn, const HostWork& work) {
  static_cast<HostStream&>(stream).enqueue(work);
  stream.record(turn);
}

}  // namespace sluice
