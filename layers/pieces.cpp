#include "layers/pieces.h"

#include <algorithm>
#include <cassert>

#include "memory/packed.h"
#include "memory/units.h"

namespace sluice {
namespace {

std::vector<Piece> cut(const UnitInfo& unit, std::size_t index, std::size_t limit_bytes) {
  std::vector<Piece> pieces;
  for (std::size_t m = 0; m < unit.matrices.size(); ++m) {
    const MatrixInfo& matrix = unit.matrices[m];
    const std::size_t panel = panel_bytes(matrix.type(), matrix.columns());
    const std::size_t count = ceil_div(matrix.rows(), kPanelRows);
    assert(panel <= limit_bytes);
    for (std::size_t done = 0; done < count;) {
      const std::size_t at = matrix.begin_bytes + done * panel;
      std::size_t fit = 0;
      if (!pieces.empty()) {
        const std::size_t used = at - pieces.back().begin_bytes;
        fit = used < limit_bytes ? (limit_bytes - used) / panel : 0;
      }
      if (fit == 0) {
        pieces.push_back({.unit = index, .begin_bytes = at, .size_bytes = 0, .ranges = {}});
        fit = limit_bytes / panel;
      }
      Piece& piece = pieces.back();
      const std::size_t take = std::min(fit, count - done);
      piece.ranges.push_back({m, done, take, at - piece.begin_bytes});
      piece.size_bytes = at + take * panel - piece.begin_bytes;
      done += take;
    }
  }
  return pieces;
}

}  // namespace

std::size_t largest_panel_bytes(const UnitInfo& unit) {
  std::size_t largest = 0;
  for (const MatrixInfo& m : unit.matrices) {
    largest = std::max(largest, panel_bytes(m.type(), m.columns()));
  }
  return largest;
}

std::vector<Piece> cut_unit(const std::vector<UnitInfo>& units, std::size_t index,
                            std::size_t limit_bytes) {
  const UnitInfo& unit = units[index];
  std::vector<Piece> pieces = cut(unit, index, limit_bytes);
  // The same number of pieces, evened out: a short last piece would leave a slot half used.
  const std::size_t even_bytes =
      ceil_div(unit.size_bytes, pieces.size()) + largest_panel_bytes(unit);
  if (even_bytes < limit_bytes) {
    std::vector<Piece> even = cut(unit, index, even_bytes);
    if (even.size() == pieces.size()) return even;
  }
  return pieces;
}

}  // namespace sluice
