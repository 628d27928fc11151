#include "cli/weights_mixture.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "cli/synthetic_model.h"
#include "memory/error.h"
#include "memory/printable.h"

namespace sluice {
namespace {

struct MixtureInfo {
  std::string_view name;
  Mixture mixture;
  DType base;
};
constexpr auto kMixtures = std::to_array<MixtureInfo>({
    {"Q2_K", Mixture::kQ2_K, DType::kQ2_K},
    {"Q3_K_M", Mixture::kQ3_K_M, DType::kQ3_K},
    {"Q4_K_S", Mixture::kQ4_K_S, DType::kQ4_K},
    {"Q4_K_M", Mixture::kQ4_K_M, DType::kQ4_K},
    {"Q5_K_M", Mixture::kQ5_K_M, DType::kQ5_K},
});

// What rows of `columns` can have in place of `type`: of groups of 32, and no fewer bits.
DType fitting_type(DType type, std::size_t columns) {
  if (columns % dtype_info(type).group_values == 0) return type;
  switch (type) {
    case DType::kQ2_K:
    case DType::kQ3_K:
      return DType::kQ4_0;
    case DType::kQ4_K:
      return DType::kQ5_0;
    case DType::kQ5_K:
      return DType::kQ5_1;
    default:
      return DType::kQ8_0;
  }
}

DType head_type(DType weights) {
  const DTypeInfo& info = dtype_info(weights);
  const bool below_q6 = 8 * info.group_bytes < 6.5 * static_cast<double>(info.group_values);
  return below_q6 ? DType::kQ6_K : weights;
}

// The layers that the mixtures ending in M give more bits: an eighth at either end, where errors
// cost most, and every third between.
bool has_more_bits(std::size_t layer, std::size_t layers) {
  const std::size_t eighth = layers / 8;
  return layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
}

// Of values, which are the smallest matrix of a layer and the one that needs its bits most.
DType value_type(Mixture mixture, DType base, std::size_t layer, const ModelShape& shape) {
  const std::size_t group = shape.heads / shape.kv_heads;
  DType type = base;
  if (mixture == Mixture::kQ2_K) type = group >= 4 ? DType::kQ4_K : DType::kQ3_K;
  if (mixture == Mixture::kQ3_K_M) type = layer < 2 ? DType::kQ5_K : DType::kQ4_K;
  if (mixture == Mixture::kQ4_K_S && layer < 4) type = DType::kQ5_K;
  if (mixture == Mixture::kQ4_K_M || mixture == Mixture::kQ5_K_M) {
    if (has_more_bits(layer, shape.layers)) type = DType::kQ6_K;
  }
  // In models of 70B eight heads share one of values.
  const bool is_70b = shape.layers == 80 && group > 1;
  return is_70b && (type == DType::kQ3_K || type == DType::kQ4_K) ? DType::kQ5_K : type;
}

DType down_type(Mixture mixture, DType base, std::size_t layer, std::size_t layers) {
  switch (mixture) {
    case Mixture::kNone:
      return base;
    case Mixture::kQ2_K:
      return DType::kQ3_K;
    case Mixture::kQ3_K_M:
      return layer < layers / 16 ? DType::kQ5_K : DType::kQ4_K;
    case Mixture::kQ4_K_S:
      return layer < layers / 8 ? DType::kQ5_K : base;
    case Mixture::kQ4_K_M:
    case Mixture::kQ5_K_M:
      return has_more_bits(layer, layers) ? DType::kQ6_K : base;
  }
  return base;
}

DType attention_output_type(Mixture mixture, DType base) {
  if (mixture == Mixture::kQ2_K) return DType::kQ3_K;
  return mixture == Mixture::kQ3_K_M ? DType::kQ4_K : base;
}

}  // namespace

WeightsMixture::WeightsMixture(Mixture mixture)
    : base_(std::ranges::find(kMixtures, mixture, &MixtureInfo::mixture)->base),
      mixture_(mixture) {}

DType WeightsMixture::wanted(MatrixRole role, std::size_t layer, const ModelShape& shape) const {
  switch (role) {
    case MatrixRole::kHead:
      return head_type(base_);
    case MatrixRole::kValue:
      return value_type(mixture_, base_, layer, shape);
    case MatrixRole::kDown:
      return down_type(mixture_, base_, layer, shape.layers);
    case MatrixRole::kOutput:
      return attention_output_type(mixture_, base_);
    default:
      return base_;
  }
}

DType WeightsMixture::type_of(MatrixRole role, std::size_t layer, std::size_t columns,
                              const ModelShape& shape) const {
  return fitting_type(wanted(role, layer, shape), columns);
}

DType WeightsMixture::embedding_type(const ModelShape& shape) const {
  return fitting_type(shape.tied ? head_type(base_) : base_, shape.width);
}

WeightsMixture parse_weights(std::string_view name) {
  std::string upper(name);
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  std::string names;
  for (const MixtureInfo& info : kMixtures) {
    if (info.name == upper) return WeightsMixture(info.mixture);
    names += std::string(info.name) + ", ";
  }
  std::string separator;
  for (const DType type : kAllDTypes) {
    if (dtype_info(type).name == upper) return type;
    if (type == DType::kQ2_K) continue;  // the mixture
    names += separator + std::string(dtype_info(type).name);
    separator = ", ";
  }
  throw Error(ErrorKind::kUsage, text("--weights ", printable(name), ": known are ", names));
}

}  // namespace sluice
