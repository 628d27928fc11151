// Time as synchronisation orders it: what an operation can know to have happened before it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace sluice::fake_cuda {

class Queue;

// Who does things: the host, and each stream. A number each, so that clocks are short vectors.
using Actor = std::size_t;
inline constexpr Actor kHost = 0;

// How much of each actor's doing is known to be over.
class Clock {
 public:
  std::uint64_t at(Actor actor) const { return actor < counts_.size() ? counts_[actor] : 0; }

  std::uint64_t tick(Actor actor) {
    if (actor >= counts_.size()) counts_.resize(actor + 1);
    return ++counts_[actor];
  }

  void join(const Clock& other) {
    if (other.counts_.size() > counts_.size()) counts_.resize(other.counts_.size());
    for (Actor actor = 0; actor < other.counts_.size(); ++actor) {
      counts_[actor] = std::max(counts_[actor], other.counts_[actor]);
    }
  }

 private:
  std::vector<std::uint64_t> counts_;
};

// Something that a stream or the host does with memory.
struct Operation {
  std::string name;   // "kernel merge", "copy to device"
  std::string where;  // "stream 2", "the host"
  Actor actor;
  std::uint64_t count;  // of the actor's clock
  // The work that does it; null for the host's, 0 for what was refused.
  Queue* queue = nullptr;
  std::uint64_t number = 0;

  bool seen_by(const Clock& clock) const { return count <= clock.at(actor); }
  std::string place() const { return name + " on " + where; }
};
using OperationPtr = std::shared_ptr<const Operation>;

}  // namespace sluice::fake_cuda
