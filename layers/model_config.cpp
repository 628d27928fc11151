#include "layers/model_config.h"

#include <cmath>

#include "memory/error.h"
#include "memory/quant.h"

namespace sluice {
namespace {

constexpr std::size_t kMaxSize = std::size_t{1} << 24;  // of any one dimension

class Reader {
 public:
  Reader(const ModelFile& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

  std::string key(std::string_view name) const { return prefix_ + "." + std::string(name); }

  std::size_t size(std::string_view name) const { return checked(name, file_.get_uint(key(name))); }
  std::size_t size_or(std::string_view name, std::size_t otherwise) const {
    const auto value = file_.find_uint(key(name));
    return value ? checked(name, *value) : otherwise;
  }
  double positive_or(std::string_view name, double otherwise) const {
    const double value = file_.find_float(key(name)).value_or(otherwise);
    if (!(value > 0.0 && value < 1e18)) {
      bad(text(key(name), " is ", value, "; it must be above 0"));
    }
    return value;
  }
  [[noreturn]] void bad(const std::string& what) const {
    throw Error(ErrorKind::kBadFile, text(file_.path().string(), ": ", what));
  }

 private:
  std::size_t checked(std::string_view name, std::uint64_t value) const {
    if (value == 0 || value > kMaxSize) {
      bad(text(key(name), " is ", value, "; it must lie in 1..", kMaxSize));
    }
    return static_cast<std::size_t>(value);
  }

  const ModelFile& file_;
  std::string prefix_;
};

// Llama 3 stores a divisor for each pair's frequency as a tensor.
std::vector<double> rope_divisors(const ModelFile& file, const Reader& reader, std::size_t pairs) {
  std::vector<double> divisors(pairs, 1.0);
  const TensorInfo* tensor = file.find_tensor("rope_freqs.weight");
  if (tensor == nullptr) return divisors;
  if (tensor->type != DType::kF32 || tensor->rows() * tensor->columns() < pairs) {
    reader.bad(text("rope_freqs.weight must hold at least ", pairs, " F32 values"));
  }
  std::vector<float> factors(tensor->rows() * tensor->columns());
  decode_row(DType::kF32, file.tensor_bytes(*tensor).data(), factors.size(), factors.data());
  for (std::size_t i = 0; i < pairs; ++i) {
    if (!(factors[i] > 0.0f)) {
      reader.bad(text("rope_freqs.weight[", i, "] is ", factors[i], "; it must be above 0"));
    }
    divisors[i] = factors[i];
  }
  return divisors;
}

double rope_scale(const ModelFile& file, const Reader& reader) {
  const auto type = file.find_string(reader.key("rope.scaling.type"));
  const auto old_factor = file.find_float(reader.key("rope.scale_linear"));
  if (type && *type != "none" && *type != "linear") {
    reader.bad(text(reader.key("rope.scaling.type"), " is '", *type,
                    "'; 'none', 'linear' and Llama 3's rope_freqs.weight are supported"));
  }
  if (type && *type == "none") return 1.0;
  return reader.positive_or("rope.scaling.factor", old_factor.value_or(1.0));
}

std::size_t vocab_size(const ModelFile& file, const Reader& reader) {
  const TensorInfo& embedding = file.tensor("token_embd.weight");
  if (embedding.shape.size() != 2) reader.bad("token_embd.weight must be a matrix");
  const std::size_t rows = embedding.rows();
  const std::size_t told = reader.size_or("vocab_size", rows);
  if (told != rows) {
    reader.bad(
        text(reader.key("vocab_size"), " is ", told, ", token_embd.weight has ", rows, " rows"));
  }
  return rows;
}

}  // namespace

ModelConfig read_model_config(const ModelFile& file) {
  ModelConfig config;
  config.architecture = file.get_string("general.architecture");
  const Reader reader(file, config.architecture);
  if (config.architecture != "llama") {
    reader.bad(text("general.architecture is '", config.architecture, "'; 'llama' is supported"));
  }
  if (reader.size_or("expert_count", kMaxSize) != kMaxSize) {
    reader.bad(text(reader.key("expert_count"), ": mixtures of experts aren't supported yet"));
  }
  config.name = file.find_string("general.name").value_or("");
  config.layers = reader.size("block_count");
  config.width = reader.size("embedding_length");
  config.feed_forward = reader.size("feed_forward_length");
  config.heads = reader.size("attention.head_count");
  config.kv_heads = reader.size_or("attention.head_count_kv", config.heads);
  if (config.heads % config.kv_heads != 0) {
    reader.bad(text(reader.key("attention.head_count"), " is ", config.heads,
                    ", not a multiple of attention.head_count_kv, ", config.kv_heads));
  }
  config.head_dim = reader.size_or("attention.key_length", config.width / config.heads);
  if (reader.size_or("attention.value_length", config.head_dim) != config.head_dim) {
    reader.bad("attention.key_length and attention.value_length differ; they must be equal");
  }
  if (config.head_dim == 0 || config.head_dim > 1024) {
    reader.bad(text("heads of ", config.head_dim, " dimensions; 1..1024 are supported"));
  }
  config.vocab = vocab_size(file, reader);
  config.context_tokens = reader.size("context_length");
  config.norm_epsilon =
      static_cast<float>(reader.positive_or("attention.layer_norm_rms_epsilon", 1e-5));
  config.rope_dims = reader.size_or("rope.dimension_count", config.head_dim);
  if (config.rope_dims > config.head_dim || config.rope_dims % 2 != 0) {
    reader.bad(text(reader.key("rope.dimension_count"), " is ", config.rope_dims,
                    "; it must be even and at most ", config.head_dim));
  }
  const double base = reader.positive_or("rope.freq_base", 10000.0);
  const double scale = rope_scale(file, reader);
  const std::size_t pairs = config.rope_dims / 2;
  const std::vector<double> divisors = rope_divisors(file, reader, pairs);
  for (std::size_t i = 0; i < pairs; ++i) {
    const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(config.rope_dims);
    config.rope_frequencies.push_back(std::pow(base, exponent) / (scale * divisors[i]));
  }
  return config;
}

}  // namespace sluice
