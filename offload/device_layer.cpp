#include "offload/device_layer.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "memory/packed.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr std::size_t kLayerStagingBytes = 16_MiB;

// Any bits, but that a half, a bfloat16 and an f32 among them is finite and less than 2.
void fill_with_numbers(std::byte* begin, std::size_t bytes) {
  std::uint64_t random = 0x9e3779b97f4a7c15;
  for (std::size_t at = 0; at + sizeof random <= bytes; at += sizeof random) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    const std::uint64_t numbers = random & 0xbfffbfffbfffbfff;
    std::memcpy(begin + at, &numbers, sizeof numbers);
  }
}

}  // namespace

DeviceLayer::DeviceLayer(Device& device, Ops& ops, const DeviceLayerShape& shape, std::byte* memory,
                         std::size_t bytes)
    : device_(device), ops_(ops), shape_(shape), staging_(kLayerStagingBytes) {
  const ModelConfig& c = shape.config;
  std::byte* at = memory;
  const auto take = [&](std::size_t size_bytes) {
    std::byte* begin = at;
    at += align_up(size_bytes);
    return begin;
  };
  const std::size_t pages = shape.sequences * ceil_div(shape.keys, kPageTokens) + 1;
  input_ = take(PassShape{kMostTokens, 0, kMostTokens, pages, 0}.input_bytes(c));
  const std::size_t in_bytes =
      kMostTokens * activation_row_bytes(ActivationForm::kF32, c.feed_forward);
  in_ = take(in_bytes);
  form_ = take(in_bytes);
  mixing_ = reinterpret_cast<float*>(take(kMostTokens * 2 * c.feed_forward * sizeof(float)));
  scratch_sizes_ = scratch_sizes();
  scratch_ = take(scratch_sizes_.total());
  region_ = at;
  const auto left = bytes - static_cast<std::size_t>(at - memory);
  assert(at < memory + bytes && shape.region_bytes <= left);
  region_bytes_ = shape.region_bytes > 0 ? shape.region_bytes : left;

  staging_.pin(device);
  fill_with_numbers(staging_.data(), staging_.size_bytes());
  const std::size_t used_bytes = static_cast<std::size_t>(region_ - memory) + region_bytes_;
  for (std::size_t done = 0; done < used_bytes; done += kLayerStagingBytes) {
    device.copy(*stream_, Direction::kToDevice, memory + done, staging_.data(),
                std::min(kLayerStagingBytes, used_bytes - done));
  }
  finish();
  // Activations are zeros in any form: others have sums that must fit their values.
  assert(in_bytes <= kLayerStagingBytes);
  std::memset(staging_.data(), 0, in_bytes);
  device.copy(*stream_, Direction::kToDevice, in_, staging_.data(), in_bytes);
  finish();
}

void DeviceLayer::finish() {
  stream_->record(*done_);
  done_->synchronize();
}

void DeviceLayer::step() {
  ops_.add_bias(*stream_, {mixing_, 1, kActivationGroup, reinterpret_cast<const float*>(in_)});
}

std::unique_ptr<Graph> DeviceLayer::steps(std::size_t count) {
  return device_.capture(*stream_, [&] {
    for (std::size_t i = 0; i < count; ++i) step();
  });
}

// Of weights that no product has read lately.
ProductArgs DeviceLayer::next_product(DType type, std::size_t rows, std::size_t columns,
                                      std::size_t tokens, float* out, std::size_t out_stride) {
  return {.type = type,
          .panels = take_region(packed_bytes(type, rows, columns)),
          .rows = rows,
          .columns = columns,
          .form = activation_form(type, precision_),
          .in = in_,
          .tokens = tokens,
          .out = out,
          .out_stride = out_stride,
          .accumulate = false};
}

// [rows, columns] matrices on the same activations; returns the bytes of their weights.
std::size_t DeviceLayer::product(DType type, std::initializer_list<std::size_t> rows,
                                 std::size_t columns, std::size_t tokens) {
  ProductBatch batch;
  float* out = mixing_;
  std::size_t stride = 0;
  std::size_t bytes = 0;
  for (const std::size_t wanted : rows) stride += rows_of(type, wanted, columns);
  for (const std::size_t wanted : rows) {
    const std::size_t taken = rows_of(type, wanted, columns);
    batch.products[batch.count++] = next_product(type, taken, columns, tokens, out, stride);
    out += taken;
    bytes += packed_bytes(type, taken, columns);
  }
  ops_.product(*stream_, batch);
  return bytes;
}

std::size_t DeviceLayer::products(DType type, std::size_t tokens) {
  const ModelConfig& c = shape_.config;
  return product(type, {c.query_width(), c.kv_width(), c.kv_width()}, c.width, tokens) +
         product(type, {c.width}, c.query_width(), tokens) +
         product(type, {c.feed_forward, c.feed_forward}, c.width, tokens) +
         product(type, {c.width}, c.feed_forward, tokens);
}

void DeviceLayer::cut_product(std::size_t pieces, std::size_t tokens) {
  const std::size_t columns = shape_.config.width;
  const std::size_t piece_rows =
      std::max(shape_.most_rows / kMostPieces / kPanelRows, std::size_t{1}) * kPanelRows;
  const std::size_t rows = kMostPieces / pieces * piece_rows;
  for (std::size_t i = 0; i < pieces; ++i) {
    ProductBatch batch;
    batch.products[batch.count++] = next_product(kUsualType, rows, columns, tokens, mixing_, rows);
    ops_.product(*stream_, batch);
  }
}

// Of large matrices as many as leave room for others: none is read twice in a row.
std::size_t DeviceLayer::rows_of(DType type, std::size_t rows, std::size_t columns) const {
  const std::size_t fitting = region_bytes_ / 3 / panel_bytes(type, columns) * kPanelRows;
  return std::min({rows, shape_.most_rows, fitting});
}

const std::byte* DeviceLayer::take_region(std::size_t bytes) {
  if (at_bytes_ + bytes > region_bytes_) at_bytes_ = 0;
  const std::byte* begin = region_ + at_bytes_;
  at_bytes_ += align_up(bytes);
  return begin;
}

void DeviceLayer::elements(std::size_t tokens) {
  const ModelConfig& c = shape_.config;
  const NormArgs norm{.in = mixing_,
                      .rows = nullptr,
                      .tokens = tokens,
                      .columns = c.width,
                      .weight = reinterpret_cast<const float*>(in_),
                      .epsilon = 1e-5f,
                      .out = usual_form()};
  ops_.norm(*stream_, norm);
  ops_.norm(*stream_, norm);
  ops_.swiglu(*stream_, {.gate_up = mixing_,
                         .tokens = tokens,
                         .columns = c.feed_forward,
                         .gate_bias = nullptr,
                         .up_bias = nullptr,
                         .out = usual_form()});
}

void DeviceLayer::rotate(const Attended& what, const PassInput& input) {
  const ModelConfig& c = shape_.config;
  ops_.rotate(*stream_, {.qkv = mixing_,
                         .heads = c.heads,
                         .rope_dims = c.rope_dims,
                         .query_bias = nullptr,
                         .key_bias = nullptr,
                         .value_bias = nullptr,
                         .places = {.tokens = what.total_tokens(),
                                    .positions = input.positions,
                                    .pages = input.pages,
                                    .rotations = input.rotations},
                         .kv = next_cache(what)});
}

void DeviceLayer::attend(const Attended& what, const PassInput& input) {
  const std::size_t tokens = what.total_tokens();
  const std::size_t qkv = (what.heads + 2 * shape_.config.kv_heads) * shape_.config.head_dim;
  Activations out = usual_form();
  out[ActivationForm::kF32] = reinterpret_cast<std::byte*>(mixing_ + tokens * qkv);
  ops_.attend(*stream_, {.qkv = mixing_,
                         .heads = what.heads,
                         .blocks = input.blocks,
                         .block_count = blocks_,
                         .tokens = tokens,
                         .keys = what.keys,
                         .page_table = input.page_table,
                         .table_pages = what.sequences * what.sequence_pages(),
                         .kv = next_cache(what),
                         .out = out});
}

KvLayout DeviceLayer::layout(const Attended& what) const {
  return {.type = what.kv,
          .layers = 1,
          .kv_heads = shape_.config.kv_heads,
          .head_dim = shape_.config.head_dim,
          .pages = what.sequences * what.sequence_pages()};
}

KvView DeviceLayer::next_cache(const Attended& what) {
  const KvLayout of = layout(what);
  const std::size_t caches = region_bytes_ / of.total_bytes();
  assert(caches > 0);
  return {of, region_ + cache_++ % caches * of.total_bytes()};
}

PassInput DeviceLayer::prepare(const Attended& what) {
  const ModelConfig& c = shape_.config;
  const std::size_t group = what.heads / c.kv_heads;
  const std::size_t block = what.tokens == 1 ? 1 : gpu_query_block_tokens(group);
  const std::size_t sequence_blocks = ceil_div(what.tokens, block);
  const PassShape pass{.tokens = what.total_tokens(),
                       .logit_rows = 0,
                       .blocks = what.sequences * sequence_blocks,
                       .table_pages = what.sequences * what.sequence_pages(),
                       .keys = what.keys};
  const PassInput here(c, pass, staging_.data());
  for (std::size_t p = 0; p < pass.table_pages; ++p) {
    here.page_table[p] = static_cast<std::int32_t>(p);
  }
  for (std::size_t s = 0; s < what.sequences; ++s) {
    const std::size_t first_page = s * what.sequence_pages();
    const auto place = [&](std::size_t token) { return what.keys - what.tokens + token; };
    for (std::size_t t = 0; t < what.tokens; ++t) {
      const std::size_t token = s * what.tokens + t;
      here.positions[token] = static_cast<std::int32_t>(place(t));
      here.pages[token] = static_cast<std::int32_t>(first_page + place(t) / kPageTokens);
    }
    for (std::size_t b = 0; b < sequence_blocks; ++b) {
      here.blocks[s * sequence_blocks + b] = {
          static_cast<std::int32_t>(s * what.tokens + b * block),
          static_cast<std::int32_t>(std::min(block, what.tokens - b * block)),
          static_cast<std::int32_t>(place(b * block)), static_cast<std::int32_t>(first_page)};
    }
  }
  blocks_ = pass.blocks;
  device_.copy(*stream_, Direction::kToDevice, input_, staging_.data(), here.size_bytes);
  finish();
  return {c, pass, input_};
}

void DeviceLayer::set_precision(Precision precision) {
  precision_ = precision;
  ops_.use_scratch(scratch_, scratch_sizes_, precision);
}

// As large as any type needs it.
ScratchSizes DeviceLayer::scratch_sizes() const {
  const ModelConfig& c = shape_.config;
  const auto tensor = [](std::size_t rows, std::size_t columns) {
    TensorInfo info{.name = {}, .type = DType::kF32, .shape = {rows, columns}};
    return info;
  };
  const TensorInfo gate = tensor(c.feed_forward, c.width);
  const TensorInfo down = tensor(c.width, c.feed_forward);
  ModelLayout model;
  model.config = c;
  model.units.push_back(
      {.kind = UnitKind::kFeedForward,
       .layer = 0,
       .matrices = {{MatrixRole::kGate, &gate, 0, 0}, {MatrixRole::kDown, &down, 0, 0}}});
  return gpu_scratch_sizes(model, Precision::kHigh, {.tokens = kMostTokens, .keys = shape_.keys});
}

// What products with most weights take.
Activations DeviceLayer::usual_form() const {
  Activations out;
  out[activation_form(kUsualType, precision_)] = form_;
  return out;
}

}  // namespace sluice
