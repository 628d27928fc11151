#include "layers/scratch.h"

#include <algorithm>

#include "layers/model.h"
#include "memory/packed.h"
#include "memory/units.h"

namespace sluice {
namespace {

// A tile is large enough to keep every processor busy and, shared out among few tokens, small
// enough not to matter beside what they bring.
constexpr std::size_t kTileBytesPerToken = 128_KiB;
constexpr std::size_t kMostTileBytes = 64_MiB;
// What cuBLAS's makers advise for their latest, less where there is less to do.
constexpr std::size_t kBlasBytesPerToken = 64_KiB;
constexpr std::size_t kMostBlasBytes = 32_MiB;
constexpr std::size_t kMostStateRows = 256;

}  // namespace

std::size_t ScratchSizes::total() const {
  return align_up(weight_tile_bytes) + align_up(activation_tile_bytes) + align_up(blas_bytes) +
         align_up(state_bytes);
}

ScratchSizes gpu_scratch_sizes(const ModelLayout& model, Precision precision,
                               const PassShape& largest) {
  const ModelConfig& c = model.config;
  ScratchSizes sizes;
  const std::size_t chunks = ceil_div(largest.keys, kChunkPages * kPageTokens);
  if (chunks > 1) sizes.state_rows = std::min(kMostStateRows, largest.tokens * chunks);
  sizes.state_bytes =
      sizes.state_rows * attention_state_floats(c.heads, c.head_dim) * sizeof(float);
  if (largest.tokens <= kFewTokens) return sizes;

  const std::size_t most = std::min(kMostTileBytes, largest.tokens * kTileBytesPerToken);
  for (const UnitInfo& unit : model.units) {
    for (const MatrixInfo& matrix : unit.matrices) {
      const std::size_t row =
          matrix.columns() * tile_value_bytes(tile_type(matrix.type(), precision));
      const std::size_t panel = kPanelRows * row;
      const std::size_t whole = align_up(matrix.rows(), kPanelRows) * row;
      sizes.weight_tile_bytes =
          std::max(sizes.weight_tile_bytes, std::clamp(most / panel * panel, panel, whole));
      sizes.activation_tile_bytes = std::max(sizes.activation_tile_bytes, largest.tokens * row);
    }
  }
  sizes.blas_bytes = std::min(kMostBlasBytes, largest.tokens * kBlasBytesPerToken);
  return sizes;
}

}  // namespace sluice
