// What is said of wrong uses, and when.
#include "memory/error.h"
#include "tests/cuda/runtime_state.h"

namespace sluice::fake_cuda {

namespace {

const char* doing(bool written) {
  return written ? "writing" : "reading";
}

void complain_of(Runtime& runtime, const Operation& later, const Conflict& conflict,
                 const Region& region, bool written) {
  const Operation& earlier = *conflict.earlier;
  runtime.complaints.add(
      text(later.name, "|", written, "|", earlier.name, "|", conflict.earlier_writes),
      text(later.place(), written ? " writes " : " reads ",
           region.range(conflict.begin, conflict.end), ", which ", earlier.place(),
           " may still be ", doing(conflict.earlier_writes), ": nothing orders the two"));
}

}  // namespace

void Complaints::add(const std::string& key, const std::string& line) {
  const std::lock_guard lock(mutex_);
  if (keys_.insert(key).second) lines_.push_back(line);
}

std::vector<std::string> Complaints::lines() const {
  const std::lock_guard lock(mutex_);
  return lines_;
}

void Complaints::clear() {
  const std::lock_guard lock(mutex_);
  keys_.clear();
  lines_.clear();
}

std::string fault(Runtime& runtime, const void* memory, std::size_t bytes) {
  const Region* const region = runtime.regions.find(memory, bytes);
  const auto begin = reinterpret_cast<std::uintptr_t>(memory);
  if (region == nullptr) return text(bytes, " bytes outside of any allocation");
  const std::size_t last = begin + bytes - region->begin;
  if (begin < region->begin) {
    return text(bytes, " bytes that begin ", region->begin - begin, " before ", region->name());
  }
  const std::string range = region->range(begin - region->begin, last);
  if (region->freed) return text(range, " after it was freed");
  if (begin + bytes > region->end()) return text(range, ", beyond its end");
  return {};
}

bool check_touch(Runtime& runtime, const OperationPtr& operation, const Clock& clock,
                 const Touch& touch, std::vector<OperationPtr>& waits) {
  if (touch.bytes == 0) return true;
  const std::string wrong = fault(runtime, touch.begin, touch.bytes);
  if (!wrong.empty()) {
    runtime.complaints.add(text(operation->name, "|memory"),
                           text(operation->place(), touch.written ? " writes " : " reads ", wrong));
    return false;
  }
  Region* const region = runtime.regions.find(touch.begin, touch.bytes);
  const std::size_t first = reinterpret_cast<std::uintptr_t>(touch.begin) - region->begin;
  const std::size_t last = first + touch.bytes;
  region->history.forget(first, last, runtime.host);
  for (const Conflict& conflict :
       region->history.touch(first, last, touch.written, operation, clock)) {
    complain_of(runtime, *operation, conflict, *region, touch.written);
    waits.push_back(conflict.earlier);
  }
  return true;
}

void check_free(Runtime& runtime, const char* action, const Region& region) {
  for (const Conflict& conflict : region.history.unseen(runtime.host)) {
    const Operation& earlier = *conflict.earlier;
    runtime.complaints.add(
        text(action, "|", earlier.name),
        text(action, " of ", region.name(), ", which ", earlier.place(), " may still be ",
             doing(conflict.earlier_writes), ": the host never waited for it"));
  }
}

Issue::Issue(Runtime& runtime, CUstream_st& stream, std::string name)
    : runtime_(runtime), stream_(stream) {
  stream.clock.join(runtime.host);
  // The default stream and the blocking ones take turns.
  CUstream_st& default_stream = runtime.streams.front();
  for (CUstream_st& other : runtime.streams) {
    const bool ordered = (&stream == &default_stream && other.blocking) ||
                         (stream.blocking && &other == &default_stream);
    if (!ordered || &other == &stream || !other.alive) continue;
    stream.clock.join(other.clock);
    stream.queue->give(
        [queue = other.queue.get(), number = other.queue->given()] { queue->wait(number); });
  }
  operation_ =
      std::make_shared<Operation>(Operation{std::move(name), stream.name, stream.actor,
                                            stream.clock.tick(stream.actor), stream.queue.get()});
}

bool Issue::touch(const Touch& touch) {
  return check_touch(runtime_, operation_, stream_.clock, touch, waits_);
}

void Issue::give(std::function<void()> work) {
  for (const OperationPtr& wait : waits_) {
    if (wait->queue == nullptr || wait->queue == stream_.queue.get()) continue;
    stream_.queue->give([wait] { wait->queue->wait(wait->number); });
  }
  operation_->number = stream_.queue->give(std::move(work));
}

}  // namespace sluice::fake_cuda
