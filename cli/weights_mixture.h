// Which type each matrix of a shape has: one for all, or a mixture as GGUF files usually have them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "layers/weights.h"
#include "memory/dtype.h"

namespace sluice {

struct ModelShape;

// The mixtures that llama.cpp's quantiser makes under these names, of Llama-like models.
enum class Mixture : std::uint8_t { kNone, kQ2_K, kQ3_K_M, kQ4_K_S, kQ4_K_M, kQ5_K_M };

class WeightsMixture {
 public:
  // Of all matrices, but the head is Q6_K at least, as usual.
  WeightsMixture(DType type) : base_(type) {}  // NOLINT: a type is the simplest mixture
  explicit WeightsMixture(Mixture mixture);

  // For rows of `columns`: where they don't fit a type's groups it is the nearest that they fit,
  // with no fewer bits.
  DType type_of(MatrixRole role, std::size_t layer, std::size_t columns,
                const ModelShape& shape) const;
  DType embedding_type(const ModelShape& shape) const;

 private:
  DType wanted(MatrixRole role, std::size_t layer, const ModelShape& shape) const;

  DType base_;
  Mixture mixture_ = Mixture::kNone;
};

// "q4_0", "Q4_K_M". Throws Error{kUsage} naming all that there are.
WeightsMixture parse_weights(std::string_view name);

}  // namespace sluice
