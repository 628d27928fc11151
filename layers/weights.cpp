#include "layers/weights.h"

#include <algorithm>

#include "memory/error.h"
#include "memory/packed.h"
#include "memory/units.h"

namespace sluice {
namespace {

struct VectorName {
  VectorRole role;
  const char* name;
  bool required;
};
constexpr VectorName kVectorNames[kVectorRoles] = {
    {VectorRole::kAttentionNorm, "attn_norm.weight", true},
    {VectorRole::kQueryBias, "attn_q.bias", false},
    {VectorRole::kKeyBias, "attn_k.bias", false},
    {VectorRole::kValueBias, "attn_v.bias", false},
    {VectorRole::kOutputBias, "attn_output.bias", false},
    {VectorRole::kFeedForwardNorm, "ffn_norm.weight", true},
    {VectorRole::kGateBias, "ffn_gate.bias", false},
    {VectorRole::kUpBias, "ffn_up.bias", false},
    {VectorRole::kDownBias, "ffn_down.bias", false},
};

class Describer {
 public:
  explicit Describer(const ModelFile& file) : file_(file) { out_.config = read_model_config(file); }

  ModelLayout describe() {
    const ModelConfig& c = out_.config;
    out_.embedding = &checked("token_embd.weight", c.vocab, c.width);
    for (std::size_t layer = 0; layer < c.layers; ++layer) {
      const std::string prefix = text("blk.", layer, ".");
      attention(layer, prefix);
      feed_forward(layer, prefix);
      vectors(prefix);
    }
    head();
    return std::move(out_);
  }

 private:
  void attention(std::size_t layer, const std::string& prefix) {
    const ModelConfig& c = out_.config;
    UnitInfo& unit = begin_unit(UnitKind::kAttention, layer);
    matrix(unit, MatrixRole::kQuery, prefix + "attn_q.weight", c.query_width(), c.width);
    matrix(unit, MatrixRole::kKey, prefix + "attn_k.weight", c.kv_width(), c.width);
    matrix(unit, MatrixRole::kValue, prefix + "attn_v.weight", c.kv_width(), c.width);
    matrix(unit, MatrixRole::kOutput, prefix + "attn_output.weight", c.width, c.query_width());
  }

  void feed_forward(std::size_t layer, const std::string& prefix) {
    const ModelConfig& c = out_.config;
    UnitInfo& unit = begin_unit(UnitKind::kFeedForward, layer);
    matrix(unit, MatrixRole::kGate, prefix + "ffn_gate.weight", c.feed_forward, c.width);
    matrix(unit, MatrixRole::kUp, prefix + "ffn_up.weight", c.feed_forward, c.width);
    matrix(unit, MatrixRole::kDown, prefix + "ffn_down.weight", c.width, c.feed_forward);
  }

  void head() {
    const ModelConfig& c = out_.config;
    out_.tied = file_.find_tensor("output.weight") == nullptr;
    UnitInfo& unit = begin_unit(UnitKind::kHead, c.layers);
    matrix(unit, MatrixRole::kHead, out_.tied ? "token_embd.weight" : "output.weight", c.vocab,
           c.width);
    out_.head_norm = vector("output_norm.weight", true, c.width);
  }

  void vectors(const std::string& prefix) {
    const ModelConfig& c = out_.config;
    auto& row = out_.layer_vectors.emplace_back();
    for (const VectorName& v : kVectorNames) {
      row[static_cast<std::size_t>(v.role)] =
          vector(prefix + v.name, v.required, vector_size(c, v.role));
    }
  }

  static std::size_t vector_size(const ModelConfig& c, VectorRole role) {
    switch (role) {
      case VectorRole::kQueryBias:
        return c.query_width();
      case VectorRole::kKeyBias:
      case VectorRole::kValueBias:
        return c.kv_width();
      case VectorRole::kGateBias:
      case VectorRole::kUpBias:
        return c.feed_forward;
      default:
        return c.width;
    }
  }

  UnitInfo& begin_unit(UnitKind kind, std::size_t layer) {
    return out_.units.emplace_back(UnitInfo{.kind = kind, .layer = layer, .matrices = {}});
  }

  void matrix(UnitInfo& unit, MatrixRole role, const std::string& name, std::size_t rows,
              std::size_t columns) {
    const TensorInfo& tensor = checked(name, rows, columns);
    if (tensor.type == DType::kBF16 && columns % 2 != 0) {
      bad(text("tensor ", name, " has ", columns, " columns; BF16 matrices need an even number"));
    }
    const std::size_t begin_bytes = align_up(unit.size_bytes);
    const std::size_t size_bytes = packed_bytes(tensor.type, rows, columns);
    unit.matrices.push_back({role, &tensor, begin_bytes, size_bytes});
    unit.size_bytes = begin_bytes + size_bytes;
  }

  VectorInfo vector(const std::string& name, bool required, std::size_t size) {
    const TensorInfo* tensor = file_.find_tensor(name);
    if (tensor == nullptr && !required) return {};
    checked(name, 1, size);
    const VectorInfo info{&file_.tensor(name), out_.vector_floats};
    out_.vector_floats += align_up(size, kAlignBytes / sizeof(float));
    return info;
  }

  const TensorInfo& checked(const std::string& name, std::size_t rows, std::size_t columns) {
    const TensorInfo& tensor = file_.tensor(name);
    if (tensor.shape.size() > 2 || tensor.columns() != columns || tensor.rows() != rows) {
      bad(text("tensor ", name, " is [", tensor.rows(), ", ", tensor.columns(),
               "]; the metadata asks for [", rows, ", ", columns, "]"));
    }
    return tensor;
  }

  [[noreturn]] void bad(const std::string& what) const {
    throw Error(ErrorKind::kBadFile, text(file_.path().string(), ": ", what));
  }

  const ModelFile& file_;
  ModelLayout out_;
};

}  // namespace

bool UnitInfo::same_shape(const UnitInfo& other) const {
  return kind == other.kind &&
         std::ranges::equal(matrices, other.matrices, [](const MatrixInfo& a, const MatrixInfo& b) {
           return a.type() == b.type() && a.rows() == b.rows() && a.columns() == b.columns();
         });
}

std::string UnitInfo::name() const {
  switch (kind) {
    case UnitKind::kAttention:
      return text("layer ", layer, " attention");
    case UnitKind::kFeedForward:
      return text("layer ", layer, " feed-forward");
    case UnitKind::kHead:
      return "head";
  }
  return {};
}

std::size_t ModelLayout::units_bytes() const {
  std::size_t total = 0;
  for (const UnitInfo& unit : units) total += unit.size_bytes;
  return total;
}

std::array<bool, kActivationForms> ModelLayout::forms(Precision precision) const {
  std::array<bool, kActivationForms> taken{};
  for (const UnitInfo& unit : units) {
    for (const MatrixInfo& m : unit.matrices) {
      taken[static_cast<std::size_t>(activation_form(m.type(), precision))] = true;
    }
  }
  return taken;
}

Precision default_precision(const ModelLayout& model) {
  constexpr std::size_t kSmallModelWeights = 500'000'000;
  std::size_t weights = 0;
  for (const UnitInfo& unit : model.units) {
    for (const MatrixInfo& m : unit.matrices) weights += m.rows() * m.columns();
  }
  return weights < kSmallModelWeights ? Precision::kHigh : Precision::kNormal;
}

ModelLayout describe_model(const ModelFile& file) {
  return Describer(file).describe();
}

}  // namespace sluice
