#include "offload/probe_layer.h"

#include <algorithm>
#include <cstring>

#include "layers/activations.h"
#include "memory/clock.h"
#include "memory/packed.h"
#include "memory/parallel.h"
#include "memory/units.h"

namespace sluice {
namespace {

// Of one matrix, so that large ones take milliseconds only.
constexpr double kMostOperations = 0.3e9;
constexpr std::size_t kFewestRows = 32 * kPanelRows;
constexpr std::size_t kMostRuns = 64;
constexpr std::size_t kFewestRuns = 3;

}  // namespace

ProbeLayer::ProbeLayer(const ModelConfig& config, Precision precision, std::size_t weight_bytes)
    : config_(config), precision_(precision), weights_(std::max(weight_bytes, 1_MiB)) {
  // Touched, so that reading it reads memory; zeros are as good as any weights.
  parallel_for(ceil_div(weights_.size_bytes(), 1_MiB), 1, [&](std::size_t begin, std::size_t end) {
    const std::size_t from = begin * 1_MiB;
    std::memset(weights_.data() + from, 0, std::min(end * 1_MiB, weights_.size_bytes()) - from);
  });
  const std::size_t widest = std::max({config.width, config.query_width(), config.feed_forward});
  const std::size_t qkv = config.query_width() + 2 * config.kv_width();
  const std::size_t out =
      activation_row_bytes(ActivationForm::kF32, config.query_width()) / sizeof(float);
  residual_.assign(kMostTokens * config.width, 0.5f);
  mixing_.assign(kMostTokens * std::max(qkv + out, 2 * config.feed_forward), 0.25f);
  norm_weights_.assign(config.width, 1.0f);
  rotations_.assign(kMostTokens * config.rope_dims, 0.5f);
  for (std::size_t form = 0; form < kActivationForms; ++form) {
    const auto bytes =
        activation_row_bytes(static_cast<ActivationForm>(form), align_up(widest, kActivationGroup));
    forms_[form].assign(kMostTokens * bytes, std::byte{});
  }
  kv_layout_ = {.layers = 1,
                .kv_heads = config.kv_heads,
                .head_dim = config.head_dim,
                .pages = (kMostTokens + kMostKeys) / kPageTokens};
  use_caches(KvType::kF16);
}

void ProbeLayer::use_caches(KvType type) {
  constexpr std::size_t kMostBytes = 64_MiB;
  kv_layout_.type = type;
  caches_ = std::clamp<std::size_t>(kMostBytes / kv_layout_.total_bytes(), 1,
                                    std::max<std::size_t>(config_.layers, 1));
  const std::size_t bytes = caches_ * kv_layout_.total_bytes();
  if (kv_.size() < bytes) kv_.resize(bytes);
}

bool ProbeLayer::fits(DType type) const {
  const std::size_t group = dtype_info(type).group_values;
  return config_.width % group == 0 && config_.feed_forward % group == 0 &&
         config_.query_width() % group == 0;
}

std::size_t ProbeLayer::rows_of(DType type, std::size_t rows, std::size_t columns,
                                std::size_t tokens) const {
  const double row_operations = 2.0 * static_cast<double>(columns * tokens);
  auto most = static_cast<std::size_t>(kMostOperations / row_operations);
  most = std::min(most, weights_.size_bytes() / panel_bytes(type, columns) * kPanelRows);
  return std::min(rows, std::max(most / kPanelRows * kPanelRows, kFewestRows));
}

const std::byte* ProbeLayer::take_weights(std::size_t bytes) {
  if (at_bytes_ + bytes > weights_.size_bytes()) at_bytes_ = 0;
  const std::byte* begin = weights_.data() + at_bytes_;
  at_bytes_ += align_up(bytes);
  run_bytes_ += static_cast<double>(bytes);
  return begin;
}

// Sequences have pages of their own, as far as there are enough.
void ProbeLayer::prepare(const LayerPass& pass) {
  const std::size_t total = pass.total_tokens();
  const std::size_t block = query_block_tokens(config_.heads / config_.kv_heads);
  positions_.resize(total);
  pages_.resize(total);
  blocks_.clear();
  table_.resize(kv_layout_.pages);
  for (std::size_t p = 0; p < table_.size(); ++p) table_[p] = static_cast<std::int32_t>(p);
  const std::size_t used = ceil_div(pass.keys + pass.tokens, kPageTokens);
  for (std::size_t s = 0; s < pass.sequences; ++s) {
    const std::size_t first_page = s % (kv_layout_.pages / used) * used;
    for (std::size_t t = 0; t < pass.tokens; ++t) {
      const std::size_t position = pass.keys + t;
      positions_[s * pass.tokens + t] = static_cast<std::int32_t>(position);
      pages_[s * pass.tokens + t] = static_cast<std::int32_t>(first_page + position / kPageTokens);
      if (t % block != 0) continue;
      blocks_.push_back({static_cast<std::int32_t>(s * pass.tokens + t),
                         static_cast<std::int32_t>(std::min(block, pass.tokens - t)),
                         static_cast<std::int32_t>(position),
                         static_cast<std::int32_t>(first_page)});
    }
  }
}

double ProbeLayer::cut_seconds(DType type, std::size_t tokens) {
  constexpr std::size_t kPieces = 8;
  constexpr std::size_t kPieceRows = 4 * kPanelRows;
  constexpr int kRuns = 7;
  const ActivationForm form = activation_form(type, precision_);
  const std::size_t columns = config_.width;
  const std::size_t piece_bytes = packed_bytes(type, kPieceRows, columns);
  const std::byte* panels = take_weights(kPieces * piece_bytes);
  std::vector<float> out(kPieces * kPieceRows * tokens);
  HostEvent done;
  const auto product = [&](std::size_t pieces) {
    for (std::size_t piece = 0; piece < pieces; ++piece) {
      const std::size_t rows = kPieces / pieces * kPieceRows;
      ProductBatch batch;
      batch.products[batch.count++] = {.type = type,
                                       .panels = panels + piece * piece_bytes,
                                       .rows = rows,
                                       .columns = columns,
                                       .form = form,
                                       .in = forms_[static_cast<std::size_t>(form)].data(),
                                       .tokens = tokens,
                                       .out = out.data() + piece * rows,
                                       .out_stride = kPieces * kPieceRows,
                                       .accumulate = false};
      ops_.product(stream_, batch);
    }
  };
  std::vector<double> more;
  for (int i = 0; i < kRuns; ++i) {
    double begin = 0.0;
    double whole = 0.0;
    double cut = 0.0;
    product(1);  // so that threads are awake
    stream_.stamp(&begin);
    product(1);
    stream_.stamp(&whole);
    product(kPieces);
    stream_.stamp(&cut);
    stream_.record(done);
    done.synchronize();
    more.push_back((cut - whole) - (whole - begin));
  }
  return std::max(median(std::move(more)), 0.0) / (kPieces - 1);
}

void ProbeLayer::run(HostStream& stream, DType type, const LayerPass& pass, Marks* marks) {
  const ModelConfig& c = config_;
  const std::size_t tokens = pass.total_tokens();
  const ActivationForm form = activation_form(type, precision_);
  std::byte* in = forms_[static_cast<std::size_t>(form)].data();
  const std::size_t qkv = c.query_width() + 2 * c.kv_width();
  Activations out;
  out[form] = in;
  std::size_t mark = 0;
  const auto stamp = [&] {
    if (marks != nullptr) stream.stamp(&marks->seconds[mark++]);
  };
  const auto product = [&](std::initializer_list<std::size_t> rows, std::size_t columns, float* to,
                           std::size_t stride) {
    ProductBatch batch;
    for (const std::size_t wanted : rows) {
      const std::size_t taken = rows_of(type, wanted, columns, tokens);
      batch.products[batch.count++] = {.type = type,
                                       .panels = take_weights(packed_bytes(type, taken, columns)),
                                       .rows = taken,
                                       .columns = columns,
                                       .form = form,
                                       .in = in,
                                       .tokens = tokens,
                                       .out = to,
                                       .out_stride = stride,
                                       .accumulate = false};
      to += wanted;
    }
    ops_.product(stream, batch);
  };
  const NormArgs norm{.in = residual_.data(),
                      .rows = nullptr,
                      .tokens = tokens,
                      .columns = c.width,
                      .weight = norm_weights_.data(),
                      .epsilon = 1e-5f,
                      .out = out};
  const KvView kv{kv_layout_, kv_.data() + run_++ % caches_ * kv_layout_.total_bytes()};
  run_bytes_ = 0.0;
  stamp();
  ops_.norm(stream, norm);
  stamp();
  product({c.query_width(), c.kv_width(), c.kv_width()}, c.width, mixing_.data(), qkv);
  stamp();
  ops_.rotate(stream, {.qkv = mixing_.data(),
                       .heads = c.heads,
                       .rope_dims = c.rope_dims,
                       .query_bias = nullptr,
                       .key_bias = nullptr,
                       .value_bias = nullptr,
                       .places = {.tokens = tokens,
                                  .positions = positions_.data(),
                                  .pages = pages_.data(),
                                  .rotations = rotations_.data()},
                       .kv = kv});
  Activations attended = out;
  attended[ActivationForm::kF32] = reinterpret_cast<std::byte*>(mixing_.data() + tokens * qkv);
  ops_.attend(stream, {.qkv = mixing_.data(),
                       .heads = c.heads,
                       .blocks = blocks_.data(),
                       .block_count = blocks_.size(),
                       .tokens = tokens,
                       .keys = pass.keys + pass.tokens,
                       .page_table = table_.data(),
                       .table_pages = table_.size(),
                       .kv = kv,
                       .out = attended});
  stamp();
  product({c.width}, c.query_width(), residual_.data(), c.width);
  stamp();
  ops_.norm(stream, norm);
  stamp();
  product({c.feed_forward, c.feed_forward}, c.width, mixing_.data(), 2 * c.feed_forward);
  stamp();
  ops_.swiglu(stream, {.gate_up = mixing_.data(),
                       .tokens = tokens,
                       .columns = c.feed_forward,
                       .gate_bias = nullptr,
                       .up_bias = nullptr,
                       .out = out});
  stamp();
  product({c.width}, c.feed_forward, residual_.data(), c.width);
  stamp();
}

double ProbeLayer::mean_seconds(DType type, const LayerPass& pass, double seconds) {
  constexpr std::size_t kAtOnce = 4;
  prepare(pass);
  HostEvent done;
  const double begin = now_seconds();
  double end = begin;
  std::size_t runs = 0;
  for (; end - begin < seconds; runs += kAtOnce, end = now_seconds()) {
    for (std::size_t i = 0; i < kAtOnce; ++i) run(stream_, type, pass, nullptr);
    stream_.record(done);
    done.synchronize();
  }
  return (end - begin) / static_cast<double>(runs);
}

LayerSeconds ProbeLayer::time(DType type, const LayerPass& pass, double seconds,
                              double* product_bytes) {
  prepare(pass);
  HostEvent done;
  std::vector<Marks> marks(kMostRuns);
  const auto runs = [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) run(stream_, type, pass, &marks[i]);
    stream_.record(done);
    done.synchronize();
  };
  runs(0, kFewestRuns);
  const double once = (marks[2].seconds[8] - marks[0].seconds[0]) / kFewestRuns;
  const auto wanted = static_cast<std::size_t>(seconds / std::max(once, 1e-6));
  std::size_t count = std::min(wanted, kMostRuns);
  if (count > 2 * kFewestRuns) {
    runs(0, count);  // those first ones loaded caches and woke threads
  } else {
    count = kFewestRuns;
  }
  std::vector<double> products, elements, attention;
  for (std::size_t i = 0; i < count; ++i) {
    const auto& m = marks[i].seconds;
    elements.push_back(m[1] - m[0] + m[5] - m[4] + m[7] - m[6]);
    attention.push_back(m[3] - m[2]);
    products.push_back(m[2] - m[1] + m[4] - m[3] + m[6] - m[5] + m[8] - m[7]);
  }
  if (product_bytes != nullptr) *product_bytes = run_bytes_;
  return {median(std::move(products)), median(std::move(elements)), median(std::move(attention))};
}

}  // namespace sluice
