// Models of well-known shapes with random weights: for measuring, without a download.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/weights_mixture.h"
#include "memory/dtype.h"
#include "offload/loader.h"

namespace sluice {

struct ModelShape {
  std::string_view name;
  std::size_t layers;
  std::size_t width;
  std::size_t feed_forward;
  std::size_t heads;
  std::size_t kv_heads;
  std::size_t vocab;
  std::size_t context_tokens;
  float rope_base;
  bool tied;  // the head is the embedding
};

const ModelShape* find_shape(std::string_view name);  // nullptr if unknown
std::string shape_names();                            // "a, b, c"

// A GGUF file in the making. The tokenizer knows bytes.
class SyntheticModel {
 public:
  // Layers beyond `drawn_layers` have the bytes of those before, over and over, and take no place
  // in the file; it is opened with Overlaps::kAllowed then. What of them no layer before has in the
  // same type is drawn.
  SyntheticModel(const ModelShape& shape, const WeightsMixture& weights, std::uint64_t seed,
                 std::size_t drawn_layers = kAllLayers);

  static constexpr std::size_t kAllLayers = ~std::size_t{0};
  std::size_t file_bytes() const { return header_.size() + data_bytes_; }
  std::size_t weight_bytes() const;                    // of all tensors, each counted
  std::string_view header() const { return header_; }  // what the file has before its tensors

  // Gives the file to `sink` from start to end, drawn in parallel some MiB at a time. Throws
  // Interrupted once `stop` is set.
  using Sink = std::function<void(std::span<const std::byte>)>;
  void write(const Sink& sink, const Progress& progress, const std::atomic<bool>* stop) const;

 private:
  struct Tensor {
    std::string name;
    DType type;
    std::size_t rows;  // 0: a vector of norm weights
    std::size_t columns;
    double deviation;
    std::size_t begin_bytes = 0;  // of the data
    bool drawn = true;            // its bytes aren't another's

    std::size_t size_bytes() const;
  };

  void add_layer(const ModelShape& shape, std::size_t layer);
  void add_matrix(std::string name, std::size_t rows, std::size_t columns, DType type,
                  double gain = 1.0);
  void add_norm(std::string name, std::size_t columns);
  std::string make_header(const ModelShape& shape);
  // The tensor whose bytes `tensor` has too; nothing if there is none of its type.
  const Tensor* find_twin(std::size_t tensor) const;

  WeightsMixture weights_;
  std::uint64_t seed_;
  std::size_t drawn_layers_;
  std::vector<Tensor> tensors_;
  std::string header_;
  std::size_t data_bytes_ = 0;
};

}  // namespace sluice
