// How long computing a piece takes, with nothing copied meanwhile.
#pragma once

#include <algorithm>
#include <vector>

#include "offload/hardware.h"
#include "offload/schedule.h"
#include "offload/trace.h"

namespace sluice {

struct PieceSeconds {
  double products = 0.0;
  double paced = 0.0;    // that these take at least
  double between = 0.0;  // of norms, rotations, attention...

  double alone() const { return std::max(products, paced) + between; }
};

PieceSeconds predict_piece(const ModelLayout& model, const ComputeRates& rates, KvType kv,
                           const Piece& piece, const PassSize& size);

// Of all pieces of a schedule, in passes of one size: [pieces].
struct PieceTable {
  std::vector<PieceSeconds> device;
  std::vector<PieceSeconds> host;
};
PieceTable predict_pieces(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                          const Hardware& hardware, const PassSize& size);

}  // namespace sluice
