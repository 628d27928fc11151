// What any place with memory and queues can do: Device, Stream, Event.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>

namespace sluice {

// When work on a stream began and ended, as now_seconds() tells.
struct Span {
  double begin_seconds = 0.0;
  double end_seconds = 0.0;
};

// A mark in a stream. Made by a Device; recorded and waited for by one host thread.
class Event {
 public:
  virtual ~Event() = default;
  // Blocks the host until the last recording has been reached. Returns at once if there was none.
  virtual void synchronize() = 0;
  // Whether that would return at once.
  virtual bool reached() = 0;
};

// A queue of work, done in order and apart from the host. Work is given by one host thread.
class Stream {
 public:
  virtual ~Stream() = default;
  // Marks the work given so far.
  virtual void record(Event& event) = 0;
  // Work given from here on starts after the last recording of `event`, which stays untouched.
  virtual void wait(Event& event) = 0;
  // Writes now_seconds() to `*seconds` when reached. Read it after an event recorded behind it.
  virtual void stamp(double* seconds) = 0;
};

// Work that was taken down from a stream once, to be given again as a whole, with the arguments
// that it had. Made by a Device, which it must not outlive. What was launched ends even if it goes.
class Graph {
 public:
  virtual ~Graph() = default;
  virtual void launch(Stream& stream) = 0;
};

enum class Direction { kToDevice, kToHost };

// Work for the host at its turn in a stream: a few words that are copied, and called once.
class HostWork {
 public:
  template <typename Work>
  explicit HostWork(const Work& work)
      : run_([](const std::byte* storage) { (*reinterpret_cast<const Work*>(storage))(); }) {
    static_assert(std::is_trivially_copyable_v<Work> && sizeof(Work) <= sizeof(storage_));
    ::new (storage_) Work(work);
  }
  void operator()() const { run_(storage_); }

 private:
  void (*run_)(const std::byte* storage);
  alignas(8) std::byte storage_[48];
};

// Memory under a hard limit, queues, and a link to host memory.
//
// Owned by the program; streams and events must be gone before it. Used by one host thread.
class Device {
 public:
  virtual ~Device() = default;
  virtual std::string_view name() const = 0;
  // Host memory is the device's own: weights are read where they lie and nothing is copied.
  virtual bool in_place() const = 0;
  // Takes the device's memory: exactly `bytes`, aligned to kAlignBytes, once in a device's life.
  // Throws Error{kOverBudget} when there is less. It stays until the device goes.
  virtual std::byte* reserve(std::size_t bytes) = 0;
  virtual std::size_t reserved_bytes() const = 0;
  virtual std::unique_ptr<Stream> make_stream(std::string_view name) = 0;
  virtual std::unique_ptr<Event> make_event() = 0;
  // Fixes host memory in place, so that copies of it need no help of the host. What can't be had is
  // left as it was; returns a warning that says why and what to do, or nothing.
  virtual std::string pin(std::byte* begin, std::size_t bytes) = 0;
  // Before memory that was pinned is given back, with no copy of it under way.
  virtual void unpin(std::byte* begin) = 0;
  // Copies over the link when `stream` gets there. Both buffers must live until then, and `span`,
  // which is told when the link was busy with it (null: don't).
  virtual void copy(Stream& stream, Direction direction, std::byte* to, const std::byte* from,
                    std::size_t bytes, Span* span = nullptr) = 0;
  // The host does `work`, which must not throw, when `stream` gets there; what is given behind it
  // waits. `turn` is recorded behind it. A device that computes on the host's cores has a thread of
  // its own do it; for others the calling one waits for the stream, and has done it on return.
  virtual void call(Stream& stream, Event& turn, const HostWork& work) = 0;
  // Takes down what `work` gives to `stream`: computation alone, of a kind that was done before.
  // None of it is done yet. Null, and none of it is ever done, if the device has no graphs or no
  // memory for one. It takes memory of its own, beside what is reserved.
  virtual std::unique_ptr<Graph> capture(Stream& /*stream*/,
                                         const std::function<void()>& /*work*/) {
    return nullptr;
  }
};

}  // namespace sluice
