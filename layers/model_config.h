// What a model file's metadata says about a model's shape.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "memory/model_file.h"

namespace sluice {

// Hyperparameters of the Llama family. All sizes have been checked to be sensible and consistent.
struct ModelConfig {
  std::string architecture;
  std::string name;  // may be empty
  std::size_t layers = 0;
  std::size_t width = 0;         // of the residual stream
  std::size_t feed_forward = 0;  // hidden width of the feed-forward block
  std::size_t heads = 0;
  std::size_t kv_heads = 0;
  std::size_t head_dim = 0;
  std::size_t vocab = 0;
  std::size_t context_tokens = 0;  // what the model was trained for
  float norm_epsilon = 0.0f;
  std::size_t rope_dims =
      0;  // leading dimensions of a head that are rotated, in pairs (2i, 2i + 1)
  // Angle of pair i at position p: p * rope_frequencies[i]; [rope_dims / 2]. With linear scaling
  // and Llama 3's factors (rope_freqs.weight) applied.
  std::vector<double> rope_frequencies;

  std::size_t query_width() const { return heads * head_dim; }
  std::size_t kv_width() const { return kv_heads * head_dim; }
};

// Throws Error{kBadFile} naming the key, the value and what would be accepted.
ModelConfig read_model_config(const ModelFile& file);

}  // namespace sluice
