// A layer of a usual shape on a device, to be timed there: enqueues its operations one by one, on
// weights and caches that no call shortly before has read.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <memory>

#include "layers/model.h"
#include "memory/host_store.h"

namespace sluice {

// What stands for a model.
struct DeviceLayerShape {
  ModelConfig config;
  std::size_t most_rows = 0;       // of a matrix
  std::size_t region_bytes = 0;    // that weights and caches are taken from; 0: what is left
  std::size_t sequences = 0;       // of one token each
  std::size_t keys = 0;            // that their tokens see
  std::size_t segment_tokens = 0;  // of one sequence, behind as many keys
};

// One token of each of some sequences, or many of one, behind keys that are there already.
struct Attended {
  std::size_t sequences;
  std::size_t tokens;  // of each
  std::size_t keys;    // that the last token sees
  std::size_t heads;
  KvType kv = KvType::kF16;

  std::size_t total_tokens() const { return sequences * tokens; }
  std::size_t sequence_pages() const { return ceil_div(keys, kPageTokens); }
};

class DeviceLayer {
 public:
  static constexpr std::size_t kMostTokens = 256;
  static constexpr DType kUsualType = DType::kQ4_0;  // whose form of activations is written

  // Works in `bytes` of the device's memory at `memory`, where the shape must fit. Borrows all.
  DeviceLayer(Device& device, Ops& ops, const DeviceLayerShape& shape, std::byte* memory,
              std::size_t bytes);

  const DeviceLayerShape& shape() const { return shape_; }
  void set_precision(Precision precision);
  // Waits until the device has done all it was given.
  void finish();

  // The least that there is to do.
  void step();
  // So many steps as a graph, for launch(); null where the device has none.
  std::unique_ptr<Graph> steps(std::size_t count);
  void launch(Graph& graph) { graph.launch(*stream_); }
  // All products of a layer, in kProductSteps; returns the bytes of their weights.
  static constexpr double kProductSteps = 4.0;
  std::size_t products(DType type, std::size_t tokens);
  // One product cut into so many pieces, of 8 at most.
  static constexpr std::size_t kMostPieces = 8;
  void cut_product(std::size_t pieces, std::size_t tokens);
  // Two norms and an activation.
  void elements(std::size_t tokens);

  // Lays a pass out and brings it to the device. No two sequences share a page.
  PassInput prepare(const Attended& what);
  void rotate(const Attended& what, const PassInput& input);
  void attend(const Attended& what, const PassInput& input);
  KvLayout layout(const Attended& what) const;

 private:
  std::size_t product(DType type, std::initializer_list<std::size_t> rows, std::size_t columns,
                      std::size_t tokens);
  std::size_t rows_of(DType type, std::size_t rows, std::size_t columns) const;
  ProductArgs next_product(DType type, std::size_t rows, std::size_t columns, std::size_t tokens,
                           float* out, std::size_t out_stride);
  const std::byte* take_region(std::size_t bytes);
  KvView next_cache(const Attended& what);
  ScratchSizes scratch_sizes() const;
  Activations usual_form() const;

  Device& device_;
  Ops& ops_;
  const DeviceLayerShape shape_;
  HostStore staging_;
  std::unique_ptr<Event> done_ = device_.make_event();
  Precision precision_ = Precision::kNormal;
  std::byte* input_ = nullptr;  // of a pass
  std::size_t blocks_ = 0;      // in it
  std::byte* in_ = nullptr;     // activations, in any form
  std::byte* form_ = nullptr;   // those that are written
  float* mixing_ = nullptr;
  ScratchSizes scratch_sizes_;
  std::byte* scratch_ = nullptr;
  std::byte* region_ = nullptr;  // weights or caches, by turns
  std::size_t region_bytes_ = 0;
  std::size_t at_bytes_ = 0;
  std::size_t cache_ = 0;
  std::unique_ptr<Stream> stream_ = device_.make_stream("probe");  // goes first
};

}  // namespace sluice
