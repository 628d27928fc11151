// Pieces of a unit: runs of its packed bytes that can be copied and computed on their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "layers/weights.h"

namespace sluice {

// Some panels of one matrix, inside a piece.
struct PanelRange {
  std::size_t matrix;       // index into the unit's matrices
  std::size_t first_panel;  // of the matrix
  std::size_t panels;
  std::size_t begin_bytes;  // from the piece's start
};

// Pieces of a unit, in order, cover each of its panels once.
struct Piece {
  std::size_t unit = 0;
  std::size_t begin_bytes = 0;  // from the unit's start
  std::size_t size_bytes = 0;
  std::vector<PanelRange> ranges;
};

// The largest panel of any matrix of the unit: no piece can be smaller.
std::size_t largest_panel_bytes(const UnitInfo& unit);

// Where a layer's attention is computed: between two matrices of its unit, or not on the device.
enum class Attention : std::uint8_t { kInUnit, kElsewhere };

// Cuts units[index] into as few pieces of at most `limit_bytes` as order allows, about equal in
// size. `limit_bytes` must be largest_panel_bytes or more. Where the attention is computed
// elsewhere, a piece ends with the last panel that it waits for.
std::vector<Piece> cut_unit(const std::vector<UnitInfo>& units, std::size_t index,
                            std::size_t limit_bytes, Attention attention = Attention::kInUnit);

// All of units[index] as one piece.
Piece whole_unit(const std::vector<UnitInfo>& units, std::size_t index);

// Whether the products that attention waits for are complete with this piece.
bool ends_before_attention(const UnitInfo& unit, const Piece& piece);

}  // namespace sluice
