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

// Of attention over so many keys, in the mean of its queries: as many as would take as long were
// there no pages. Scores are taken of whole pages, sums of the keys that there are.
double attended_keys(double keys);
double attention_seconds(const ModelConfig& config, const ComputeRates& rates, KvType kv,
                         const PassSize& size);

// Attention is told with the piece that it follows, unless it is computed elsewhere.
PieceSeconds predict_piece(const ModelLayout& model, const ComputeRates& rates, KvType kv,
                           const Piece& piece, const PassSize& size,
                           Attention attention = Attention::kInUnit);
// Of a layer where it is: rotating, storing and attending.
PieceSeconds predict_attention(const ModelLayout& model, const ComputeRates& rates, KvType kv,
                               const PassSize& size);

// Pages of a layer that go through a cache slot: what the device attends to, and what comes back.
struct CacheTraffic {
  std::size_t before_bytes = 0;
  double up_seconds = 0.0;
  double down_seconds = 0.0;
};
CacheTraffic cache_traffic(const KvLayout& layout, const Hardware& hardware, const PassSize& size);

// Of all pieces of a schedule, in passes of one size: [pieces].
struct PieceTable {
  std::vector<PieceSeconds> device;
  std::vector<PieceSeconds> host;  // what it computes uncut: all at a unit's first piece
  PieceSeconds host_attention;     // of a layer whose cache is in host memory,
  PieceSeconds device_attention;   // or in a cache slot,
  CacheTraffic cache_traffic;      // through which its pages go
};
PieceTable predict_pieces(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                          const Hardware& hardware, const PassSize& size);

}  // namespace sluice
