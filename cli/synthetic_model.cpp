#include "cli/synthetic_model.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

#include "cli/byte_bpe.h"
#include "memory/error.h"
#include "memory/gguf_writer.h"
#include "memory/parallel.h"
#include "memory/synthetic.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr std::size_t kChunkBytes = 256_KiB;  // about: what is drawn from one random stream
constexpr std::size_t kChunksAtOnce = 32;
constexpr std::size_t kLayerTensors = 9;

// As the models' own configurations have them. "tiny" is for trying things out.
constexpr auto kShapes = std::to_array<ModelShape>({
    {"tiny", 2, 256, 512, 4, 2, 512, 2048, 1e4f, true},
    {"smollm2-135m", 30, 576, 1536, 9, 3, 49152, 8192, 1e5f, true},
    {"tinyllama-1.1b", 22, 2048, 5632, 32, 4, 32000, 2048, 1e4f, false},
    {"llama-3.2-1b", 16, 2048, 8192, 32, 8, 128256, 131072, 5e5f, true},
    {"llama-3.2-3b", 28, 3072, 8192, 24, 8, 128256, 131072, 5e5f, true},
    {"mistral-7b", 32, 4096, 14336, 32, 8, 32000, 32768, 1e6f, false},
    {"llama-3-8b", 32, 4096, 14336, 32, 8, 128256, 8192, 5e5f, false},
    {"llama-2-70b", 80, 8192, 28672, 64, 8, 32000, 4096, 1e4f, false},
    {"llama-3-70b", 80, 8192, 28672, 64, 8, 128256, 8192, 5e5f, false},
});

// Bytes, then the end of a text, then numbers as words.
void add_tokenizer(GgufHeaderWriter& header, std::size_t vocab) {
  assert(vocab > 256 && "every byte and the end have a token");
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(spell_byte(byte));
  std::vector<std::int32_t> types(vocab, static_cast<std::int32_t>(TokenType::kNormal));
  types[tokens.size()] = static_cast<std::int32_t>(TokenType::kControl);
  const auto end = static_cast<std::uint32_t>(tokens.size());
  tokens.push_back("<|endoftext|>");
  while (tokens.size() < vocab) tokens.push_back(spell_byte(' ') + std::to_string(tokens.size()));
  header.add("tokenizer.ggml.model", std::string_view("gpt2"));
  header.add("tokenizer.ggml.pre", std::string_view("default"));
  header.add("tokenizer.ggml.tokens", tokens);
  header.add("tokenizer.ggml.token_type", types);
  header.add("tokenizer.ggml.merges", std::span<const std::string>{});
  header.add("tokenizer.ggml.bos_token_id", end);
  header.add("tokenizer.ggml.eos_token_id", end);
  header.add("tokenizer.ggml.add_bos_token", false);
}

}  // namespace

const ModelShape* find_shape(std::string_view name) {
  const auto* found = std::ranges::find(kShapes, name, &ModelShape::name);
  return found == kShapes.end() ? nullptr : found;
}

std::string shape_names() {
  std::string names;
  for (const ModelShape& shape : kShapes) {
    names += (names.empty() ? "" : ", ") + std::string(shape.name);
  }
  return names;
}

std::size_t SyntheticModel::Tensor::size_bytes() const {
  return std::max<std::size_t>(rows, 1) * row_bytes(type, columns);
}

SyntheticModel::SyntheticModel(const ModelShape& shape, const WeightsMixture& weights,
                               std::uint64_t seed, std::size_t drawn_layers)
    : weights_(weights), seed_(seed), drawn_layers_(drawn_layers) {
  assert(drawn_layers > 0);
  add_matrix("token_embd.weight", shape.vocab, shape.width, weights_.embedding_type(shape));
  for (std::size_t layer = 0; layer < shape.layers; ++layer) add_layer(shape, layer);
  add_norm("output_norm.weight", shape.width);
  if (!shape.tied) {
    add_matrix("output.weight", shape.vocab, shape.width,
               weights_.type_of(MatrixRole::kHead, shape.layers, shape.width, shape));
  }
  header_ = make_header(shape);
}

// What is added to the residual stream is scaled down so that all layers together stay in range.
void SyntheticModel::add_layer(const ModelShape& shape, std::size_t layer) {
  const std::string prefix = text("blk.", layer, ".");
  const std::size_t width = shape.width;
  const std::size_t kv_width = width / shape.heads * shape.kv_heads;
  const double damped = 1.0 / std::sqrt(2.0 * static_cast<double>(shape.layers));
  const auto add = [&](const char* name, std::size_t rows, std::size_t columns, MatrixRole role,
                       double gain = 1.0) {
    add_matrix(prefix + name, rows, columns, weights_.type_of(role, layer, columns, shape), gain);
  };
  const std::size_t begin = tensors_.size();
  add_norm(prefix + "attn_norm.weight", width);
  add("attn_q.weight", width, width, MatrixRole::kQuery);
  add("attn_k.weight", kv_width, width, MatrixRole::kKey);
  add("attn_v.weight", kv_width, width, MatrixRole::kValue);
  add("attn_output.weight", width, width, MatrixRole::kOutput, damped);
  add_norm(prefix + "ffn_norm.weight", width);
  add("ffn_gate.weight", shape.feed_forward, width, MatrixRole::kGate);
  add("ffn_up.weight", shape.feed_forward, width, MatrixRole::kUp);
  add("ffn_down.weight", width, shape.feed_forward, MatrixRole::kDown, damped);
  assert(tensors_.size() - begin == kLayerTensors);
  if (layer < drawn_layers_) return;
  for (std::size_t i = begin; i < tensors_.size(); ++i) tensors_[i].drawn = false;
}

std::size_t SyntheticModel::weight_bytes() const {
  std::size_t bytes = 0;
  for (const Tensor& t : tensors_) bytes += t.size_bytes();
  return bytes;
}

void SyntheticModel::add_matrix(std::string name, std::size_t rows, std::size_t columns, DType type,
                                double gain) {
  tensors_.push_back(
      {std::move(name), type, rows, columns, gain / std::sqrt(static_cast<double>(columns))});
}

void SyntheticModel::add_norm(std::string name, std::size_t columns) {
  tensors_.push_back({std::move(name), DType::kF32, 0, columns, 0.05});
}

const SyntheticModel::Tensor* SyntheticModel::find_twin(std::size_t tensor) const {
  const std::size_t first = 1 + (tensor - 1) % kLayerTensors;  // of layer 0, after the embedding
  std::size_t at = tensor - drawn_layers_ * kLayerTensors;
  while (tensors_[at].type != tensors_[tensor].type && at > first) at -= kLayerTensors;
  return tensors_[at].type == tensors_[tensor].type ? &tensors_[at] : nullptr;
}

std::string SyntheticModel::make_header(const ModelShape& shape) {
  GgufHeaderWriter header;
  const auto add_size = [&](const char* key, std::size_t value) {
    header.add(text("llama.", key), static_cast<std::uint32_t>(value));
  };
  header.add("general.architecture", std::string_view("llama"));
  header.add("general.name", std::string_view(text("synthetic ", shape.name)));
  add_size("block_count", shape.layers);
  add_size("context_length", shape.context_tokens);
  add_size("embedding_length", shape.width);
  add_size("feed_forward_length", shape.feed_forward);
  add_size("attention.head_count", shape.heads);
  add_size("attention.head_count_kv", shape.kv_heads);
  add_size("rope.dimension_count", shape.width / shape.heads);
  add_size("vocab_size", shape.vocab);
  header.add("llama.rope.freq_base", shape.rope_base);
  header.add("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  add_tokenizer(header, shape.vocab);
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    Tensor& t = tensors_[i];
    const std::size_t matrix[] = {t.rows, t.columns};
    const auto extents = std::span(matrix).subspan(t.rows == 0 ? 1 : 0);
    const Tensor* twin = t.drawn ? nullptr : find_twin(i);
    if (twin == nullptr) {
      t.drawn = true;
      t.begin_bytes = header.data_bytes();
      header.add_tensor(t.name, t.type, extents);
    } else {
      t.begin_bytes = twin->begin_bytes;
      header.add_shared_tensor(t.name, t.type, extents, t.begin_bytes);
    }
  }
  data_bytes_ = header.data_bytes();
  return header.bytes();
}

void SyntheticModel::write(const Sink& sink, const Progress& progress,
                           const std::atomic<bool>* stop) const {
  sink(std::as_bytes(std::span(header_)));
  std::size_t done_bytes = header_.size();
  std::uint64_t stream = seed_ << 32;  // fewer chunks than that: a PiB
  std::vector<std::byte> buffer;
  for (const Tensor& tensor : tensors_) {
    if (!tensor.drawn) continue;
    const SyntheticWeights weights(tensor.type, tensor.rows == 0 ? 1.0 : 0.0, tensor.deviation);
    const std::size_t group_bytes = dtype_info(tensor.type).group_bytes;
    const std::size_t chunk_bytes = kChunkBytes / group_bytes * group_bytes;
    const std::size_t size_bytes = tensor.size_bytes();
    for (std::size_t at = 0; at < size_bytes; at += kChunksAtOnce * chunk_bytes) {
      const std::size_t now_bytes = std::min(size_bytes - at, kChunksAtOnce * chunk_bytes);
      const std::size_t chunks = ceil_div(now_bytes, chunk_bytes);
      buffer.assign(align_up(now_bytes, kGgufAlignBytes), std::byte{});
      parallel_for(chunks, 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
          const std::size_t chunk_at = i * chunk_bytes;
          weights.fill(stream + i,
                       {buffer.data() + chunk_at, std::min(chunk_bytes, now_bytes - chunk_at)});
        }
      });
      const bool last = at + now_bytes == size_bytes;
      sink({buffer.data(), last ? buffer.size() : now_bytes});
      stream += chunks;
      done_bytes += now_bytes;
      if (progress) progress(done_bytes, file_bytes());
      if (stop != nullptr && stop->load(std::memory_order_relaxed)) throw Interrupted{};
    }
  }
}

}  // namespace sluice
