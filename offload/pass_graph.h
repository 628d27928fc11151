// Passes that are all alike, given to the device as one graph.
#pragma once

#include <memory>
#include <optional>

#include "layers/model.h"
#include "memory/device.h"

namespace sluice {

// A token of decoding is hundreds of small launches; on a fast GPU that reads its weights from its
// own memory, handing them over takes longer than they do. Their arguments are those of the pass
// before, as long as it brings as much: what else changes lies in the pass's input.
class PassGraph {
 public:
  // What the launches of a pass depend on, beside its input.
  struct Key {
    PassShape shape;
    bool top;

    bool operator==(const Key&) const = default;
  };

  // Borrows both. Goes once the stream's work is done.
  PassGraph(Device& device, Stream& stream) : device_(device), stream_(stream) {}

  // Whether there is a graph for passes of this key. If the pass before was of it too, there will
  // be one: of what `work` then gives to the stream.
  template <typename Work>
  bool has(const Key& key, const Work& work) {
    const bool again = before_ == key;
    before_ = key;
    if (again && captured_ != key) {
      graph_ = nullptr;  // whose memory the next may take
      graph_ = device_.capture(stream_, work);
      captured_ = key;
    }
    return captured_ == key && graph_ != nullptr;
  }
  void launch() { graph_->launch(stream_); }

 private:
  Device& device_;
  Stream& stream_;
  std::optional<Key> before_;
  std::optional<Key> captured_;
  std::unique_ptr<Graph> graph_;  // of captured_; null: the device has none for it
};

}  // namespace sluice
