#include "offload/piece_seconds.h"

#include "memory/packed.h"
#include "memory/units.h"

namespace sluice {
namespace {

double seconds_at(double few, double many, std::size_t tokens) {
  constexpr std::size_t kFew = 8;  // a CPU's loops over so many tokens aren't split
  return tokens > kFew && many > 0.0 ? many : few;
}

double attention_seconds(const ModelLayout& model, const ComputeRates& rates, KvType kv,
                         const PassSize& size) {
  const ModelConfig& c = model.config;
  const double products = 4.0 * static_cast<double>(size.tokens) * static_cast<double>(size.keys) *
                          static_cast<double>(c.query_width());
  const bool alone = size.tokens * size.keys * c.heads < kAloneScores &&
                     rates.attention_alone_operations_per_second > 0.0;
  const AttentionShares& shares = rates.attention_shares[static_cast<std::size_t>(kv)];
  const double rate = alone ? rates.attention_alone_operations_per_second
                      : size.tokens > size.sequences
                          ? rates.attention_operations_per_second * shares.many
                          : rates.attention_one_token_operations_per_second * shares.one_token;
  const KvLayout layout{.type = kv, .kv_heads = c.kv_heads, .head_dim = c.head_dim};
  const auto bytes = static_cast<double>(size.sequences * size.keys * layout.token_bytes());
  const double read = rates.cache_bytes_per_second;
  return std::max(products / rate, read > 0.0 ? bytes / read : 0.0);
}

// Norms, rotations, activations and quantising, around the matrix that ends here.
double between_seconds(const ModelLayout& model, const ComputeRates& rates, KvType kv,
                       MatrixRole role, const PassSize& size) {
  const ModelConfig& c = model.config;
  const double tokens = static_cast<double>(size.tokens);
  const double element = seconds_at(rates.element_seconds, rates.element_seconds_many, size.tokens);
  const double rotate = seconds_at(rates.rotate_seconds, rates.rotate_seconds_many, size.tokens);
  switch (role) {
    case MatrixRole::kValue:
      return element * tokens * static_cast<double>(c.width) +
             (rotate > 0.0 ? rotate : element) * tokens *
                 static_cast<double>(2 * c.query_width() + 2 * c.kv_width()) +
             attention_seconds(model, rates, kv, size) + 3 * rates.step_seconds;
    case MatrixRole::kUp:
      return element * tokens * static_cast<double>(c.width + 2 * c.feed_forward) +
             2 * rates.step_seconds;
    case MatrixRole::kHead:
      return element * static_cast<double>(size.rows * c.width) + rates.step_seconds;
    default:
      return 0.0;
  }
}

}  // namespace

PieceSeconds predict_piece(const ModelLayout& model, const ComputeRates& rates, KvType kv,
                           const Piece& piece, const PassSize& size) {
  const UnitInfo& unit = model.units[piece.unit];
  const std::size_t tokens = unit.kind == UnitKind::kHead ? size.rows : size.tokens;
  PieceSeconds seconds;
  bool together = false;  // with the product before
  for (const PanelRange& range : piece.ranges) {
    const MatrixInfo& matrix = unit.matrices[range.matrix];
    const ProductRate& rate = rates.products[static_cast<std::size_t>(matrix.type())];
    const auto bytes =
        static_cast<double>(range.panels * panel_bytes(matrix.type(), matrix.columns()));
    seconds.products += rate.seconds_per_byte_at(tokens) * bytes;
    const bool cut_off = range.first_panel > 0;  // from a piece before
    if (cut_off) {
      seconds.products += std::max(rates.step_seconds, ProductRate::at(rates.cut_seconds, tokens));
    } else if (!together) {
      seconds.products += rates.step_seconds;
    }
    together = !ends_batch(matrix.role);
    const double operations =
        2.0 * static_cast<double>(range.panels * kPanelRows * matrix.columns() * tokens);
    seconds.paced += rates.pace.seconds(bytes, operations);
    const std::size_t panels = ceil_div(matrix.rows(), kPanelRows);
    if (range.first_panel + range.panels == panels) {
      seconds.between += between_seconds(model, rates, kv, matrix.role, size);
    }
  }
  return seconds;
}

// Layers are alike: what one unit's pieces take, those of another of its shape take too.
PieceTable predict_pieces(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                          const Hardware& hardware, const PassSize& size) {
  PieceTable table;
  std::vector<std::size_t> met;  // a unit of each shape, cut alike
  for (std::size_t unit = 0; unit < model.units.size(); ++unit) {
    const std::size_t begin = schedule.unit[unit];
    const std::size_t count = schedule.unit[unit + 1] - begin;
    const auto alike = std::ranges::find_if(met, [&](std::size_t other) {
      return schedule.unit[other + 1] - schedule.unit[other] == count &&
             model.units[other].same_shape(model.units[unit]);
    });
    const bool is_new = alike == met.end();
    const std::size_t known = is_new ? 0 : schedule.unit[*alike];
    for (std::size_t i = 0; i < count; ++i) {
      for (const bool host : {false, true}) {
        std::vector<PieceSeconds>& all = host ? table.host : table.device;
        const ComputeRates& rates = host ? hardware.host : hardware.device;
        const Piece& piece = schedule.pieces[begin + i];
        all.push_back(is_new ? predict_piece(model, rates, plan.kv.type, piece, size)
                             : all[known + i]);
      }
    }
    if (is_new) met.push_back(unit);
  }
  return table;
}

}  // namespace sluice
