#include "layers/model.h"

#include <algorithm>

#include "memory/packed.h"
#include "memory/units.h"

namespace sluice {
namespace {

// Where each matrix's output goes among the pass's activations.
struct Output {
  float* begin;
  std::size_t stride;
  bool accumulate;
};

constexpr std::size_t kInputAlignBytes = 64;

// The next array's address. In numbers, since sizes are asked for with no buffer at all.
template <typename T>
T* take(std::uintptr_t& at, std::size_t count) {
  T* begin = reinterpret_cast<T*>(at);
  at += align_up(count * sizeof(T), kInputAlignBytes);
  return begin;
}

// What the mixing buffer holds of a token while it is attended.
std::size_t attention_floats(const ModelConfig& c) {
  return (mixed_row_bytes(c) + activation_row_bytes(ActivationForm::kF32, c.query_width())) /
         sizeof(float);
}

ActivationForm form_of_attended(const UnitInfo& unit, Precision precision) {
  const auto output = std::ranges::find(unit.matrices, MatrixRole::kOutput, &MatrixInfo::role);
  return activation_form(output->type(), precision);
}

}  // namespace

bool ends_batch(MatrixRole role) {
  return role != MatrixRole::kQuery && role != MatrixRole::kKey && role != MatrixRole::kGate;
}

PassInput::PassInput(const ModelConfig& config, const PassShape& shape, std::byte* begin) {
  const auto start = reinterpret_cast<std::uintptr_t>(begin);
  std::uintptr_t at = start;
  residual = take<float>(at, shape.tokens * config.width);
  rotations = take<float>(at, shape.tokens * config.rope_dims);
  positions = take<std::int32_t>(at, shape.tokens);
  pages = take<std::int32_t>(at, shape.tokens);
  logit_rows = take<std::int32_t>(at, shape.logit_rows);
  queries = take<LogitsQuery>(at, shape.logit_rows);
  blocks = take<QueryBlock>(at, shape.blocks);
  page_table = take<std::int32_t>(at, shape.table_pages);
  size_bytes = at - start;
}

std::size_t PassShape::input_bytes(const ModelConfig& config) const {
  return PassInput(config, *this, nullptr).size_bytes;
}

WorkspaceSizes workspace_sizes(const ModelLayout& model, Precision precision,
                               const PassShape& largest) {
  const ModelConfig& c = model.config;
  const std::size_t rows = std::max(largest.tokens, largest.logit_rows);
  const std::size_t widest = std::max({c.width, c.query_width(), c.feed_forward});
  std::array<std::size_t, kActivationForms> bytes{};
  const std::array<bool, kActivationForms> taken = model.forms(precision);
  for (std::size_t i = 0; i < kActivationForms; ++i) {
    const auto form = static_cast<ActivationForm>(i);
    if (!taken[i]) continue;
    bytes[i] = rows * activation_row_bytes(form, align_up(widest, kActivationGroup));
  }
  const std::size_t mixing_floats =
      largest.tokens * std::max(attention_floats(c), 2 * c.feed_forward);
  const std::size_t summary_bytes =
      largest.logit_rows * summary_parts(c.vocab) * sizeof(LogitsSummary);
  return {.input_bytes = largest.input_bytes(c),
          .activation_bytes = bytes,
          .mixing_floats = std::max(mixing_floats, ceil_div(summary_bytes, sizeof(float)))};
}

std::size_t mixed_row_bytes(const ModelConfig& config) {
  return (config.query_width() + 2 * config.kv_width()) * sizeof(float);
}

std::size_t attended_row_bytes(const ModelConfig& config, const UnitInfo& attention,
                               Precision precision) {
  return activation_row_bytes(form_of_attended(attention, precision), config.query_width());
}

WorkspaceSizes attention_sizes(const ModelLayout& model, Precision precision, std::size_t tokens) {
  const ModelConfig& c = model.config;
  WorkspaceSizes sizes{};
  sizes.mixing_floats = tokens * attention_floats(c);
  for (const UnitInfo& unit : model.units) {
    if (unit.kind != UnitKind::kAttention) continue;
    const ActivationForm form = form_of_attended(unit, precision);
    if (form == ActivationForm::kF32) continue;  // lies with what is mixed
    sizes.activation_bytes[static_cast<std::size_t>(form)] =
        tokens * attended_row_bytes(c, unit, precision);
  }
  return sizes;
}

void Model::begin_pass(const PassShape& shape, std::byte* input) {
  shape_ = shape;
  input_ = PassInput(layout_.config, shape, input);
}

void Model::run(Stream& stream, const Piece& piece, const std::byte* weights) {
  const UnitInfo& unit = layout_.units[piece.unit];
  ProductBatch batch;  // of matrices with nothing to be done between them
  const auto flush = [&] {
    if (batch.count > 0) ops_.product(stream, batch);
    batch.count = 0;
  };
  for (const PanelRange& range : piece.ranges) {
    const MatrixInfo& matrix = unit.matrices[range.matrix];
    const std::size_t panels = ceil_div(matrix.rows(), kPanelRows);
    if (range.first_panel == 0) before(stream, unit, matrix.role);
    batch.products[batch.count++] = product_args(unit, range, weights + range.begin_bytes);
    if (range.first_panel + range.panels < panels || !ends_batch(matrix.role)) continue;
    flush();
    after(stream, piece.unit, matrix.role);
  }
  flush();
}

void Model::before(Stream& stream, const UnitInfo& unit, MatrixRole role) {
  NormArgs args{.in = input_.residual,
                .rows = nullptr,
                .tokens = shape_.tokens,
                .columns = layout_.config.width,
                .weight = nullptr,
                .epsilon = layout_.config.norm_epsilon,
                .out = {}};
  switch (role) {
    case MatrixRole::kQuery:
      args.weight = vector(unit.layer, VectorRole::kAttentionNorm);
      args.out = inputs_of(unit, {MatrixRole::kQuery, MatrixRole::kKey, MatrixRole::kValue});
      break;
    case MatrixRole::kGate:
      args.weight = vector(unit.layer, VectorRole::kFeedForwardNorm);
      args.out = inputs_of(unit, {MatrixRole::kGate, MatrixRole::kUp});
      break;
    case MatrixRole::kHead:
      args.rows = input_.logit_rows;
      args.tokens = shape_.logit_rows;
      args.weight = workspace_.vectors + layout_.head_norm.begin;
      args.out = inputs_of(unit, {MatrixRole::kHead});
      break;
    default:
      return;
  }
  ops_.norm(stream, args);
}

void Model::after(Stream& stream, std::size_t index, MatrixRole role) {
  const UnitInfo& unit = layout_.units[index];
  switch (role) {
    case MatrixRole::kValue:
      if (std::byte* kv = workspace_.kv[unit.layer]) attend(stream, index, kv);
      break;
    case MatrixRole::kOutput:
      add_bias(stream, unit.layer, VectorRole::kOutputBias);
      break;
    case MatrixRole::kUp:
      ops_.swiglu(stream, {.gate_up = workspace_.mixing,
                           .tokens = shape_.tokens,
                           .columns = layout_.config.feed_forward,
                           .gate_bias = vector(unit.layer, VectorRole::kGateBias),
                           .up_bias = vector(unit.layer, VectorRole::kUpBias),
                           .out = inputs_of(unit, {MatrixRole::kDown})});
      break;
    case MatrixRole::kDown:
      add_bias(stream, unit.layer, VectorRole::kDownBias);
      break;
    default:
      break;
  }
}

ProductArgs Model::product_args(const UnitInfo& unit, const PanelRange& range,
                                const std::byte* panels) const {
  const ModelConfig& c = layout_.config;
  const MatrixInfo& matrix = unit.matrices[range.matrix];
  const std::size_t qkv_width = c.query_width() + 2 * c.kv_width();
  float* mixing = workspace_.mixing;
  Output to{};
  switch (matrix.role) {
    case MatrixRole::kQuery:
      to = {mixing, qkv_width, false};
      break;
    case MatrixRole::kKey:
      to = {mixing + c.query_width(), qkv_width, false};
      break;
    case MatrixRole::kValue:
      to = {mixing + c.query_width() + c.kv_width(), qkv_width, false};
      break;
    case MatrixRole::kGate:
      to = {mixing, 2 * c.feed_forward, false};
      break;
    case MatrixRole::kUp:
      to = {mixing + c.feed_forward, 2 * c.feed_forward, false};
      break;
    case MatrixRole::kOutput:
    case MatrixRole::kDown:
      to = {input_.residual, c.width, true};
      break;
    case MatrixRole::kHead:
      to = {workspace_.logits + shape_.first_row * c.vocab, c.vocab, false};
      break;
  }
  const std::size_t first_row = range.first_panel * kPanelRows;
  const bool from_attention = matrix.role == MatrixRole::kOutput;
  const ActivationForm form = activation_form(matrix.type(), workspace_.precision);
  return {.type = matrix.type(),
          .panels = panels,
          .rows = std::min(range.panels * kPanelRows, matrix.rows() - first_row),
          .columns = matrix.columns(),
          .form = form,
          .in = from_attention && form == ActivationForm::kF32
                    ? reinterpret_cast<const std::byte*>(attention_out())
                    : workspace_.activations.row(form, 0, 0),
          .tokens = unit.kind == UnitKind::kHead ? shape_.logit_rows : shape_.tokens,
          .out = to.begin + first_row,
          .out_stride = to.stride,
          .accumulate = to.accumulate};
}

void Model::summarise(Stream& stream, bool top) {
  const std::size_t vocab = layout_.config.vocab;
  ops_.summarise(stream, {.logits = workspace_.logits + shape_.first_row * vocab,
                          .rows = shape_.logit_rows,
                          .vocab = vocab,
                          .queries = input_.queries,
                          .top = top,
                          .parts = reinterpret_cast<LogitsSummary*>(workspace_.mixing),
                          .out = workspace_.summaries + shape_.first_row});
}

void Model::attend(Stream& stream, std::size_t index, std::byte* pages) {
  const ModelConfig& c = layout_.config;
  const UnitInfo& unit = layout_.units[index];
  const std::size_t layer = unit.layer;
  const KvView kv{workspace_.kv_layout, pages};
  ops_.rotate(stream, {.qkv = workspace_.mixing,
                       .heads = c.heads,
                       .rope_dims = c.rope_dims,
                       .query_bias = vector(layer, VectorRole::kQueryBias),
                       .key_bias = vector(layer, VectorRole::kKeyBias),
                       .value_bias = vector(layer, VectorRole::kValueBias),
                       .places = {.tokens = shape_.tokens,
                                  .positions = input_.positions,
                                  .pages = input_.pages,
                                  .rotations = input_.rotations},
                       .kv = kv});
  Activations out = inputs_of(unit, {MatrixRole::kOutput});
  out[ActivationForm::kF32] = reinterpret_cast<std::byte*>(attention_out());
  ops_.attend(stream, {.qkv = workspace_.mixing,
                       .heads = c.heads,
                       .blocks = input_.blocks,
                       .block_count = shape_.blocks,
                       .tokens = shape_.tokens,
                       .keys = shape_.keys,
                       .page_table = input_.page_table,
                       .table_pages = shape_.table_pages,
                       .kv = kv,
                       .out = out});
}

std::span<std::byte> Model::mixed_rows() const {
  return {reinterpret_cast<std::byte*>(workspace_.mixing),
          shape_.tokens * mixed_row_bytes(layout_.config)};
}

std::span<std::byte> Model::attended_rows(std::size_t unit) const {
  const UnitInfo& info = layout_.units[unit];
  const ActivationForm form = form_of_attended(info, workspace_.precision);
  std::byte* begin = form == ActivationForm::kF32 ? reinterpret_cast<std::byte*>(attention_out())
                                                  : workspace_.activations.row(form, 0, 0);
  return {begin, shape_.tokens * attended_row_bytes(layout_.config, info, workspace_.precision)};
}

Activations Model::inputs_of(const UnitInfo& unit, std::initializer_list<MatrixRole> roles) const {
  Activations wanted;
  for (const MatrixInfo& matrix : unit.matrices) {
    if (std::find(roles.begin(), roles.end(), matrix.role) == roles.end()) continue;
    const ActivationForm form = activation_form(matrix.type(), workspace_.precision);
    wanted[form] = workspace_.activations.row(form, 0, 0);
  }
  return wanted;
}

void Model::add_bias(Stream& stream, std::size_t layer, VectorRole role) {
  const float* bias = vector(layer, role);
  if (bias == nullptr) return;
  ops_.add_bias(stream, {input_.residual, shape_.tokens, layout_.config.width, bias});
}

const float* Model::vector(std::size_t layer, VectorRole role) const {
  const VectorInfo& info = layout_.layer_vectors[layer][static_cast<std::size_t>(role)];
  return info.tensor == nullptr ? nullptr : workspace_.vectors + info.begin;
}

float* Model::attention_out() const {
  const ModelConfig& c = layout_.config;
  return workspace_.mixing + shape_.tokens * (c.query_width() + 2 * c.kv_width());
}

}  // namespace sluice
