#include "offload/piece_seconds.h"

#include <algorithm>

#include "memory/packed.h"
#include "memory/units.h"

namespace sluice {
namespace {

double rotate_seconds(const ModelConfig& c, const ComputeRates& rates, const PassSize& size) {
  const double element = ProductRate::at(rates.element_seconds, size.tokens);
  const double rotate = ProductRate::at(rates.rotate_seconds, size.tokens);
  return (rotate > 0.0 ? rotate : element) *
             static_cast<double>(2 * c.query_width() + 2 * c.kv_width()) +
         rates.step_seconds;
}

// Norms, rotations, activations and quantising, around the matrix that ends here.
double between_seconds(const ModelLayout& model, const ComputeRates& rates, KvType kv,
                       MatrixRole role, const PassSize& size, Attention attention) {
  const ModelConfig& c = model.config;
  const double element = ProductRate::at(rates.element_seconds, size.tokens);
  switch (role) {
    case MatrixRole::kValue: {
      const double norm = element * static_cast<double>(c.width) + rates.step_seconds;
      if (attention == Attention::kElsewhere) return norm;
      return norm + rotate_seconds(c, rates, size) + attention_seconds(c, rates, kv, size) +
             rates.step_seconds;
    }
    case MatrixRole::kUp:
      return element * static_cast<double>(c.width + 2 * c.feed_forward) + 2 * rates.step_seconds;
    case MatrixRole::kHead:
      return ProductRate::at(rates.element_seconds, size.rows) * static_cast<double>(c.width) +
             rates.step_seconds;
    default:
      return 0.0;
  }
}

}  // namespace

double attended_keys(double keys) {
  constexpr double kPage = kPageTokens;
  return 0.5 * (std::max(keys + 0.5 * kPage, kPage) + keys);
}

// Queries of one sequence share what it takes to load a page.
double attention_seconds(const ModelConfig& c, const ComputeRates& rates, KvType kv,
                         const PassSize& size) {
  const double operations = 4.0 * static_cast<double>(size.tokens * c.query_width()) *
                            attended_keys(static_cast<double>(size.keys));
  const bool alone = size.tokens * size.keys * c.heads < kAloneScores &&
                     rates.attention_alone_operations_per_second > 0.0;
  const double begin = static_cast<double>(size.sequences - 1) * rates.sequence_seconds;
  if (alone) return begin + operations / rates.attention_alone_operations_per_second;
  const AttentionShares& shares = rates.attention_shares[static_cast<std::size_t>(kv)];
  const double one = 1.0 / (rates.attention_one_token_operations_per_second * shares.one_token);
  const double many = 1.0 / (rates.attention_operations_per_second * shares.many);
  const double sharing = static_cast<double>(size.sequences) / static_cast<double>(size.tokens);
  const double computing = operations * (many + (one - many) * std::min(sharing, 1.0));
  const KvLayout layout{.type = kv, .kv_heads = c.kv_heads, .head_dim = c.head_dim};
  const auto bytes = static_cast<double>(size.sequences * size.keys * layout.token_bytes());
  const double read = rates.cache_bytes_per_second;
  return begin + std::max(computing, read > 0.0 ? bytes / read : 0.0);
}

PieceSeconds predict_piece(const ModelLayout& model, const ComputeRates& rates, KvType kv,
                           const Piece& piece, const PassSize& size, Attention attention) {
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
      seconds.between += between_seconds(model, rates, kv, matrix.role, size, attention);
    }
  }
  return seconds;
}

PieceSeconds predict_attention(const ModelLayout& model, const ComputeRates& rates, KvType kv,
                               const PassSize& size) {
  const ModelConfig& c = model.config;
  return {.between = rotate_seconds(c, rates, size) + attention_seconds(c, rates, kv, size) +
                     rates.step_seconds};
}

// Each sequence's pages lie together; of those that hold tokens of the pass the first may be old.
CacheTraffic cache_traffic(const KvLayout& layout, const Hardware& hardware, const PassSize& size) {
  const std::size_t tokens = ceil_div(size.tokens, size.sequences);
  const std::size_t before = size.keys - std::min(size.keys, tokens / 2);
  const std::size_t page_bytes = layout.page_bytes();
  const auto seconds = [&](const LinkSpeed& link, std::size_t pages) {
    return pages == 0 ? 0.0
                      : static_cast<double>(size.sequences) * link.seconds(pages * page_bytes);
  };
  const std::size_t before_pages = ceil_div(before, kPageTokens);
  return {.before_bytes = size.sequences * before_pages * page_bytes,
          .up_seconds = seconds(hardware.to_device, before_pages),
          .down_seconds = seconds(hardware.to_host, ceil_div(tokens, kPageTokens))};
}

namespace {

// Handing operations over takes less where a pass is a graph.
ComputeRates device_rates(const Plan& plan, const Hardware& hardware, const PassSize& size) {
  ComputeRates rates = hardware.device;
  if (rates.graph_step_seconds > 0.0 && plan.fits_graph(size.tokens)) {
    rates.step_seconds = rates.graph_step_seconds;
  }
  return rates;
}

}  // namespace

// Layers are alike: what one unit's pieces take, those of another of its shape take too.
PieceTable predict_pieces(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                          const Hardware& hardware, const PassSize& size) {
  PieceTable table;
  const ComputeRates device = device_rates(plan, hardware, size);
  table.device.reserve(schedule.pieces.size());
  table.host.reserve(schedule.pieces.size());
  if (plan.host_kv.layers > 0) {
    table.host_attention = predict_attention(model, hardware.host, plan.kv.type, size);
    table.device_attention = predict_attention(model, hardware.device, plan.kv.type, size);
    table.cache_traffic = cache_traffic(plan.host_kv, hardware, size);
  }
  std::vector<std::size_t> met;  // a unit of each shape, cut alike
  for (std::size_t unit = 0; unit < model.units.size(); ++unit) {
    const std::size_t begin = schedule.unit[unit];
    const std::size_t count = schedule.unit[unit + 1] - begin;
    const Attention attention = schedule.attention(unit);
    const auto alike = std::ranges::find_if(met, [&](std::size_t other) {
      return schedule.unit[other + 1] - schedule.unit[other] == count &&
             schedule.on_disk[schedule.unit[other]] == schedule.on_disk[begin] &&
             schedule.attention(other) == attention &&
             model.units[other].same_shape(model.units[unit]);
    });
    const bool is_new = alike == met.end();
    const std::size_t known = is_new ? 0 : schedule.unit[*alike];
    for (std::size_t i = 0; i < count; ++i) {
      const Piece& piece = schedule.pieces[begin + i];
      const auto predicted = [&](const ComputeRates& rates, const Piece& what) {
        return predict_piece(model, rates, plan.kv.type, what, size, attention);
      };
      table.device.push_back(is_new ? predicted(device, piece) : table.device[known + i]);
      if (!is_new) {
        table.host.push_back(table.host[known + i]);
      } else if (schedule.on_disk[begin]) {
        table.host.push_back(predicted(hardware.host, piece));
      } else {
        table.host.push_back(i == 0 ? predicted(hardware.host, schedule.whole[unit])
                                    : PieceSeconds{});
      }
    }
    if (is_new) met.push_back(unit);
  }
  return table;
}

}  // namespace sluice
