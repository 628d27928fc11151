#include <array>
#include <cstdint>

#include "memory/packed.h"
#include "memory/packed_layout.h"
#include "memory/packed_quads.h"
#include "memory/quant.h"
#include "memory/quantised_types.h"

namespace sluice {
namespace {

using Quads = std::array<Quad, 8>;  // the 32 values of a group

unsigned byte_at(const std::byte* bytes, std::size_t at) {
  return std::to_integer<unsigned>(bytes[at]);
}

template <BlockLayout kLayout>
Quads get_values(std::size_t row, const std::byte* group) {
  group += sizeof(Quad) * row;
  Quads values{};
  for (int j = 0; j < 8; ++j) {
    if constexpr (kLayout.bytes) values[j] = load<Quad>(group + 64 * j);
    if constexpr (kLayout.nibbles) {
      values[j] |= load<Quad>(group + kLayout.nibbles_at() + 64 * (j % 4)) >> j / 4 * 4 & kNibbles;
    }
    if constexpr (kLayout.pairs) {
      const auto plane = load<Quad>(group + kLayout.pairs_at() + 64 * (j / 4));
      values[j] |= (plane >> j % 4 * 2 & kPairs) << kLayout.pairs_shift();
    }
    if constexpr (kLayout.bits) {
      values[j] |= (load<Quad>(group) >> j & kBits) << kLayout.bits_shift();
    }
  }
  return values;
}

struct ScaleMin {
  float scale;
  float min;
};

// The scale and min of columns 16 h .. 16 h + 15 of a block's row, rounded as memory/quant.cpp
// does.
template <DType kType>
ScaleMin get_scale(const std::byte* block, std::size_t row, std::size_t h) {
  const std::size_t s = h / 2;
  const auto at = [&](std::size_t begin, std::size_t line) {
    return byte_at(block, begin + 16 * line + row);
  };
  const float d = half_to_float(load<std::uint16_t>(block + 2 * row));
  float m = 0;
  if constexpr (block_layout(kType).mins) {
    m = half_to_float(load<std::uint16_t>(block + kMinAt + 2 * row));
  }
  if constexpr (kType == DType::kQ4_K || kType == DType::kQ5_K) {
    const unsigned low = at(kScalesQ45At, s);
    const unsigned high = at(kScalesQ45HighAt, s / 2) >> s % 2 * 4;
    return {d * static_cast<float>((low & 15) | (high & 3) << 4),
            -(m * static_cast<float>(low >> 4 | (high >> 2 & 3) << 4))};
  } else if constexpr (kType == DType::kQ6_K) {
    return {d * static_cast<float>(static_cast<std::int8_t>(at(kScalesQ6At, h))), 0};
  } else if constexpr (kType == DType::kQ2_K) {
    const unsigned both = at(kScalesQ2At, h);
    return {d * static_cast<float>(both & 15), -(m * static_cast<float>(both >> 4))};
  } else if constexpr (kType == DType::kQ3_K) {
    const unsigned low = at(kScalesQ3At, h / 2) >> h % 2 * 4 & 15;
    const unsigned high = at(kScalesQ3HighAt, h / 4) >> h % 4 * 2 & 3;
    return {d * static_cast<float>(static_cast<int>(low | high << 4) - 32), 0};
  } else {
    return {d, m};
  }
}

template <DType kType>
void decode_quantised(const std::byte* panel, std::size_t row, std::size_t columns, float* out) {
  constexpr BlockLayout kLayout = block_layout(kType);
  for (std::size_t c = 0; c < columns; c += kPlaneColumns) {
    const std::byte* block = panel + c / kLayout.columns() * kLayout.block_bytes();
    const std::size_t g = c / kPlaneColumns % kLayout.groups;
    const Quads values = get_values<kLayout>(row, block + kLayout.group_at(g));
    ScaleMin scale_min{};
    for (std::size_t i = 0; i < kPlaneColumns; ++i) {
      if (i % 16 == 0) scale_min = get_scale<kType>(block, row, 2 * g + i / 16);
      const auto [scale, min] = scale_min;
      const auto q = static_cast<int>(values[i / 4] >> i % 4 * 8 & 255) - kLayout.offset();
      out[c + i] = scale * static_cast<float>(q);
      if constexpr (kLayout.mins) out[c + i] += min;
    }
  }
}

}  // namespace

void decode_packed_row(DType type, const std::byte* panels, std::size_t row, std::size_t columns,
                       float* out) {
  const std::byte* panel = panels + row / kPanelRows * panel_bytes(type, columns);
  row %= kPanelRows;
  for (std::size_t c = 0; !is_quantised(type) && c < columns; ++c) {
    if (type == DType::kF32) {
      out[c] = load<float>(panel + (c * kPanelRows + row) * 4);
    } else if (type == DType::kF16) {
      out[c] = half_to_float(load<std::uint16_t>(panel + (c * kPanelRows + row) * 2));
    } else {
      const std::size_t at = c / 2 * 2 * kPanelRows + row * 2 + c % 2;
      out[c] = bfloat16_to_float(load<std::uint16_t>(panel + at * 2));
    }
  }
  if (!is_quantised(type)) return;
  with_quantised(type, [&]<DType kType>() { decode_quantised<kType>(panel, row, columns, out); });
}

}  // namespace sluice
