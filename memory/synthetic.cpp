#include "memory/synthetic.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "memory/quant.h"

namespace sluice {
namespace {

constexpr std::size_t kQuantiles = 4096;

// SplitMix64 (Steele, Lea and Flood 2014).
class Random {
 public:
  explicit Random(std::uint64_t stream) : state_(stream) { state_ = next(); }
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }

 private:
  std::uint64_t state_;
};

// Where a group of a quantised type has its f16 numbers; all its other bytes may be anything. With
// `min_ratio` minimums to a scale, the mean of random values is 0.
struct GroupNumbers {
  std::size_t scale_at;
  std::size_t min_at;
  double min_ratio;  // 0: the type has no minimum
};

GroupNumbers group_numbers(DType type) {
  switch (type) {
    case DType::kQ4_1:
      return {0, 2, -7.5};
    case DType::kQ5_1:
      return {0, 2, -15.5};
    case DType::kQ2_K:
      return {80, 82, 1.5};
    case DType::kQ3_K:
      return {108, 0, 0.0};
    case DType::kQ4_K:
      return {0, 2, 7.5};
    case DType::kQ5_K:
      return {0, 2, 15.5};
    case DType::kQ6_K:
      return {208, 0, 0.0};
    default:
      return {0, 0, 0.0};
  }
}

// Ascending, at the middles of kQuantiles equal shares; by Newton's method, each from the last.
std::vector<double> normal_quantiles() {
  std::vector<double> quantiles(kQuantiles);
  double z = -4.0;
  for (std::size_t i = 0; i < kQuantiles / 2; ++i) {
    const double share = (static_cast<double>(i) + 0.5) / kQuantiles;
    for (int step = 0; step < 8; ++step) {
      const double below = 0.5 * std::erfc(-z / std::numbers::sqrt2);
      const double density = std::exp(-0.5 * z * z) / std::sqrt(2.0 * std::numbers::pi);
      z -= (below - share) / density;
    }
    quantiles[i] = z;
    quantiles[kQuantiles - 1 - i] = -z;
  }
  return quantiles;
}

template <typename Value>
void draw(const std::byte* values, std::uint64_t stream, std::span<std::byte> out) {
  constexpr std::size_t kValues = sizeof(std::uint64_t) / sizeof(std::uint16_t);  // of one draw
  Random random(stream);
  for (std::size_t at = 0; at < out.size(); at += kValues * sizeof(Value)) {
    const std::uint64_t bits = random.next();
    Value drawn[kValues];
    for (std::size_t i = 0; i < kValues; ++i) {
      std::memcpy(&drawn[i], values + (bits >> (16 * i) & (kQuantiles - 1)) * sizeof(Value),
                  sizeof(Value));
    }
    std::memcpy(out.data() + at, drawn, std::min(sizeof(drawn), out.size() - at));
  }
}

}  // namespace

SyntheticWeights::SyntheticWeights(DType type, double mean, double deviation) : type_(type) {
  if (is_quantised(type)) {
    set_scales(1.0);
    set_scales(deviation / decoded_deviation());
    return;
  }
  const std::size_t value_bytes = dtype_info(type).group_bytes;
  values_.resize(kQuantiles * value_bytes);
  std::byte* at = values_.data();
  for (const double z : normal_quantiles()) {
    const auto value = static_cast<float>(mean + deviation * z);
    const std::uint16_t half =
        type == DType::kF16 ? float_to_half(value) : float_to_bfloat16(value);
    std::memcpy(at, type == DType::kF32 ? static_cast<const void*>(&value) : &half, value_bytes);
    at += value_bytes;
  }
}

// Scales vary by a quarter around `scale`, and are of either sign.
void SyntheticWeights::set_scales(double scale) {
  const double min_ratio = group_numbers(type_).min_ratio;
  for (std::size_t i = 0; i < scales_.size(); ++i) {
    const double share = static_cast<double>(i / 2) / static_cast<double>(scales_.size() / 2);
    const double one = scale * (0.75 + 0.5 * share) * (i % 2 == 0 ? 1.0 : -1.0);
    scales_[i] = {float_to_half(static_cast<float>(one)),
                  float_to_half(static_cast<float>(min_ratio * one))};
  }
}

double SyntheticWeights::decoded_deviation() const {
  constexpr std::size_t kGroups = 512;
  const DTypeInfo& info = dtype_info(type_);
  std::vector<std::byte> groups(kGroups * info.group_bytes);
  fill(0, groups);
  std::vector<float> values(kGroups * info.group_values);
  decode_row(type_, groups.data(), values.size(), values.data());
  double squares = 0.0;
  for (const double value : values) squares += value * value;
  return std::sqrt(squares / static_cast<double>(values.size()));
}

void SyntheticWeights::fill(std::uint64_t stream, std::span<std::byte> out) const {
  is_quantised(type_) ? fill_groups(stream, out) : fill_floats(stream, out);
}

void SyntheticWeights::fill_floats(std::uint64_t stream, std::span<std::byte> out) const {
  type_ == DType::kF32 ? draw<std::uint32_t>(values_.data(), stream, out)
                       : draw<std::uint16_t>(values_.data(), stream, out);
}

void SyntheticWeights::fill_groups(std::uint64_t stream, std::span<std::byte> out) const {
  Random random(stream);
  for (std::size_t at = 0; at < out.size(); at += sizeof(std::uint64_t)) {
    const std::uint64_t bits = random.next();
    std::memcpy(out.data() + at, &bits, std::min(sizeof(bits), out.size() - at));
  }
  const GroupNumbers numbers = group_numbers(type_);
  for (std::size_t at = 0; at < out.size(); at += dtype_info(type_).group_bytes) {
    const Scales& scales = scales_[random.next() % scales_.size()];
    std::memcpy(out.data() + at + numbers.scale_at, &scales.scale, sizeof(scales.scale));
    if (numbers.min_ratio == 0.0) continue;
    std::memcpy(out.data() + at + numbers.min_at, &scales.min, sizeof(scales.min));
  }
}

}  // namespace sluice
