#include "memory/read_queue.h"

#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <vector>

#ifdef SLUICE_URING
#include <liburing.h>
#endif

namespace sluice {
namespace {

// A ring of reads that wait, or of results that do.
template <typename T>
class Ring {
 public:
  explicit Ring(std::size_t size) : entries_(size) {}
  bool empty() const { return first_ == last_; }
  void push(const T& entry) {
    assert(last_ - first_ < entries_.size());
    entries_[last_++ % entries_.size()] = entry;
  }
  T pop() { return entries_[first_++ % entries_.size()]; }

 private:
  std::vector<T> entries_;
  std::size_t first_ = 0;
  std::size_t last_ = 0;
};

class PlainQueue final : public ReadQueue {
 public:
  explicit PlainQueue(std::size_t depth) : waiting_(depth) {}
  std::string_view name() const override { return "pread"; }
  void submit(const FileRead& read, std::size_t tag) override { waiting_.push({read, tag}); }
  Done wait() override {
    const auto [read, tag] = waiting_.pop();
    const auto begin = static_cast<off_t>(read.begin_bytes);
    ssize_t got = -1;
    do {
      got = ::pread(read.descriptor, read.to, read.size_bytes, begin);
    } while (got < 0 && errno == EINTR);
    return {tag, got < 0 ? -errno : got};
  }

 private:
  struct Waiting {
    FileRead read;
    std::size_t tag;
  };
  Ring<Waiting> waiting_;
};

#ifdef SLUICE_URING

class UringQueue final : public ReadQueue {
 public:
  explicit UringQueue(std::size_t depth)
      : made_(io_uring_queue_init(static_cast<unsigned>(depth), &ring_, 0) == 0) {}
  ~UringQueue() override {
    if (made_) io_uring_queue_exit(&ring_);
  }
  UringQueue(const UringQueue&) = delete;
  UringQueue& operator=(const UringQueue&) = delete;

  // A container may let a ring be made and not let it be used.
  bool works() {
    if (!made_) return false;
    io_uring_prep_nop(io_uring_get_sqe(&ring_));
    io_uring_cqe* entry = nullptr;
    if (io_uring_submit_and_wait(&ring_, 1) < 0) return false;
    if (io_uring_wait_cqe(&ring_, &entry) != 0) return false;
    io_uring_cqe_seen(&ring_, entry);
    return true;
  }

  std::string_view name() const override { return "io_uring"; }

  // What the system won't take just now stays in the ring, and goes with the next or with a wait.
  void submit(const FileRead& read, std::size_t tag) override {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    assert(entry != nullptr);
    io_uring_prep_read(entry, read.descriptor, read.to, static_cast<unsigned>(read.size_bytes),
                       read.begin_bytes);
    entry->user_data = tag;
    io_uring_submit(&ring_);
  }

  Done wait() override {
    io_uring_cqe* entry = nullptr;
    while (io_uring_peek_cqe(&ring_, &entry) != 0) io_uring_submit_and_wait(&ring_, 1);
    const Done done{static_cast<std::size_t>(entry->user_data), entry->res};
    io_uring_cqe_seen(&ring_, entry);
    return done;
  }

 private:
  io_uring ring_{};
  bool made_;
};

#endif

}  // namespace

std::unique_ptr<ReadQueue> ReadQueue::make_plain(std::size_t depth) {
  return std::make_unique<PlainQueue>(depth);
}

std::unique_ptr<ReadQueue> ReadQueue::make(std::size_t depth) {
#ifdef SLUICE_URING
  auto ring = std::make_unique<UringQueue>(depth);
  if (ring->works()) return ring;
#endif
  return make_plain(depth);
}

}  // namespace sluice
