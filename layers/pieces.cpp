#include "layers/pieces.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "memory/packed.h"
#include "memory/units.h"

namespace sluice {
namespace {

// Some matrices of a unit: [first, end).
struct Run {
  std::size_t first;
  std::size_t end;
};

std::vector<Piece> cut(const UnitInfo& unit, std::size_t index, const Run& run,
                       std::size_t limit_bytes) {
  std::vector<Piece> pieces;
  for (std::size_t m = run.first; m < run.end; ++m) {
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

std::vector<Piece> cut_run(const UnitInfo& unit, std::size_t index, const Run& run,
                           std::size_t limit_bytes) {
  std::vector<Piece> pieces = cut(unit, index, run, limit_bytes);
  // The same number of pieces, evened out: a short last piece would leave a slot half used.
  const MatrixInfo& last = unit.matrices[run.end - 1];
  const std::size_t run_bytes =
      last.begin_bytes + last.size_bytes - unit.matrices[run.first].begin_bytes;
  const std::size_t even_bytes = ceil_div(run_bytes, pieces.size()) + largest_panel_bytes(unit);
  if (even_bytes < limit_bytes) {
    std::vector<Piece> even = cut(unit, index, run, even_bytes);
    if (even.size() == pieces.size()) return even;
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
                            std::size_t limit_bytes, Attention attention) {
  const UnitInfo& unit = units[index];
  const std::size_t count = unit.matrices.size();
  std::size_t split = count;
  if (attention == Attention::kElsewhere && unit.kind == UnitKind::kAttention) {
    while (unit.matrices[split - 1].role != MatrixRole::kValue) --split;
  }
  std::vector<Piece> pieces = cut_run(unit, index, {0, split}, limit_bytes);
  if (split == count) return pieces;
  for (Piece& piece : cut_run(unit, index, {split, count}, limit_bytes)) {
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

Piece whole_unit(const std::vector<UnitInfo>& units, std::size_t index) {
  return cut_unit(units, index, units[index].size_bytes).front();
}

bool ends_before_attention(const UnitInfo& unit, const Piece& piece) {
  const PanelRange& last = piece.ranges.back();
  const MatrixInfo& matrix = unit.matrices[last.matrix];
  return matrix.role == MatrixRole::kValue &&
         last.first_panel + last.panels == ceil_div(matrix.rows(), kPanelRows);
}

}  // namespace sluice
