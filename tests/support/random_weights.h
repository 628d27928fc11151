// Random weight matrices in the form of a file, for any type.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "memory/dtype.h"
#include "memory/packed.h"
#include "memory/quant.h"
#include "memory/units.h"

namespace sluice {

// Where a group's f16 numbers lie; every other byte of a group may be anything.
inline std::vector<std::size_t> halves_at(DType type) {
  switch (type) {
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
      return {0, 2};
    case DType::kQ2_K:
      return {80, 82};
    case DType::kQ3_K:
      return {108};
    case DType::kQ6_K:
      return {208};
    default:
      return {0};
  }
}

inline std::vector<std::byte> random_rows(DType type, std::size_t rows, std::size_t columns,
                                          std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<std::byte> bytes(rows * row_bytes(type, columns));
  if (is_quantised(type)) {
    const std::size_t group_bytes = dtype_info(type).group_bytes;
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    for (std::size_t group = 0; group < bytes.size(); group += group_bytes) {
      for (const std::size_t at : halves_at(type)) {
        const std::uint16_t half = float_to_half(0.05f * normal(random));
        std::memcpy(&bytes[group + at], &half, sizeof(half));
      }
    }
    return bytes;
  }
  const std::size_t value_bytes = dtype_info(type).group_bytes;
  for (std::size_t at = 0; at < bytes.size(); at += value_bytes) {
    const float value = normal(random);
    const std::uint16_t half =
        type == DType::kF16 ? float_to_half(value) : float_to_bfloat16(value);
    std::memcpy(&bytes[at], type == DType::kF32 ? static_cast<const void*>(&value) : &half,
                value_bytes);
  }
  return bytes;
}

inline std::vector<std::byte> pack_rows(DType type, const std::vector<std::byte>& file_rows,
                                        std::size_t rows, std::size_t columns) {
  std::vector<std::byte> packed(packed_bytes(type, rows, columns));
  for (std::size_t row = 0; row < rows; row += kPanelRows) {
    pack_panel(type, file_rows.data() + row * row_bytes(type, columns),
               std::min(kPanelRows, rows - row), columns,
               packed.data() + row / kPanelRows * panel_bytes(type, columns));
  }
  return packed;
}

// Normally distributed, by so much.
inline std::vector<float> random_floats(std::size_t count, std::uint32_t seed, float scale = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

}  // namespace sluice
