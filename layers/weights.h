// Which weights a model has: units, the matrices in them, and the small vectors beside them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "layers/activations.h"
#include "layers/model_config.h"
#include "memory/model_file.h"

namespace sluice {

enum class UnitKind : std::uint8_t { kAttention, kFeedForward, kHead };
enum class MatrixRole : std::uint8_t { kQuery, kKey, kValue, kOutput, kGate, kUp, kDown, kHead };

// One matrix of a unit, in its packed form.
struct MatrixInfo {
  MatrixRole role;
  const TensorInfo* tensor;  // in the model file
  std::size_t begin_bytes;   // from the unit's start, a multiple of kAlignBytes
  std::size_t size_bytes;    // packed

  DType type() const { return tensor->type; }
  std::size_t rows() const { return tensor->rows(); }
  std::size_t columns() const { return tensor->columns(); }
};

// The smallest thing that is placed. Its matrices lie one behind the other in the order in which
// they are computed, so that any run of its bytes that ends at a panel can be computed on arrival.
struct UnitInfo {
  UnitKind kind;
  std::size_t layer;  // of the head: the number of layers
  std::vector<MatrixInfo> matrices;
  std::size_t size_bytes = 0;

  std::string name() const;  // "layer 3 attention", "head"
  // Whether it holds the same matrices, but for the values in them.
  bool same_shape(const UnitInfo& other) const;
};

// Norm weights and biases: f32, always on the device.
enum class VectorRole : std::uint8_t {
  kAttentionNorm,
  kQueryBias,
  kKeyBias,
  kValueBias,
  kOutputBias,
  kFeedForwardNorm,
  kGateBias,
  kUpBias,
  kDownBias,
};
inline constexpr std::size_t kVectorRoles = 9;

struct VectorInfo {
  const TensorInfo* tensor = nullptr;  // nullptr: the model has none
  std::size_t begin = 0;               // in floats, from the vectors' start
};

// Everything that a model file holds of a model, and where it goes. Points into the file.
struct ModelLayout {
  ModelConfig config;
  std::vector<UnitInfo> units;  // in the order in which a pass computes them; the head is last
  std::vector<std::array<VectorInfo, kVectorRoles>> layer_vectors;
  VectorInfo head_norm;
  std::size_t vector_floats = 0;  // of all vectors
  const TensorInfo* embedding = nullptr;
  bool tied = false;  // the head is the embedding

  std::size_t units_bytes() const;
  // The forms in which any matrix takes activations: [form].
  std::array<bool, kActivationForms> forms(Precision precision) const;
  bool takes(ActivationForm form, Precision precision) const {
    return forms(precision)[static_cast<std::size_t>(form)];
  }
};

// High for small models, whose speed isn't the concern; normal for others. The model alone decides,
// so that answers don't depend on limits or workloads.
Precision default_precision(const ModelLayout& model);

// Throws Error{kBadFile} naming a tensor that is missing or has the wrong shape or type.
ModelLayout describe_model(const ModelFile& file);

}  // namespace sluice
