// Device memory that a GPU's operations need for themselves, beside their arguments.
#pragma once

#include <cstddef>
#include <cstdint>

#include "layers/activations.h"
#include "memory/dtype.h"

namespace sluice {

struct ModelLayout;
struct PassShape;

// Products of up to this many tokens read packed weights; those of more have both factors decoded
// into plain matrices, tiles, which the tensor cores multiply.
inline constexpr std::size_t kFewTokens = 16;

enum class TileType : std::uint8_t { kF16, kBf16, kF32 };

constexpr std::size_t tile_value_bytes(TileType type) {
  return type == TileType::kF32 ? 4 : 2;
}

// Of normal precision a half holds every quantised weight to 2^-12 of itself; high precision stays
// in f32.
constexpr TileType tile_type(DType weights, Precision precision) {
  if (precision == Precision::kHigh || weights == DType::kF32) return TileType::kF32;
  return weights == DType::kBF16 ? TileType::kBf16 : TileType::kF16;
}

// Attention over a long context is split into chunks of keys that are met apart, where there are
// few queries; each leaves a state.
inline constexpr std::size_t kChunkPages = 8;

constexpr std::size_t attention_state_floats(std::size_t heads, std::size_t head_dim) {
  return heads * (head_dim + 2);
}

// Each lies behind the one before, rounded up to kAlignBytes.
struct ScratchSizes {
  std::size_t weight_tile_bytes = 0;
  std::size_t activation_tile_bytes = 0;
  std::size_t blas_bytes = 0;  // cuBLAS's workspace
  std::size_t state_rows = 0;  // tokens x chunks that are met apart at once
  std::size_t state_bytes = 0;

  std::size_t total() const;
};

// For passes of this size at most.
ScratchSizes gpu_scratch_sizes(const ModelLayout& model, Precision precision,
                               const PassShape& largest);

}  // namespace sluice
