#include "memory/packed.h"

#include <array>
#include <cstdint>
#include <cstring>

#include "memory/error.h"
#include "memory/packed_layout.h"
#include "memory/quant.h"
#include "memory/quantised_types.h"

namespace sluice {

namespace {

// Four values of a row, a byte each, in the order of the columns; and the 32 of a group.
using Quad = std::uint32_t;
using Quads = std::array<Quad, 8>;

constexpr Quad kNibbles = 0x0f0f0f0f;
constexpr Quad kPairs = 0x03030303;
constexpr Quad kBits = 0x01010101;

template <typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

template <typename T>
void store(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof(value));
}

unsigned byte_at(const std::byte* bytes, std::size_t at) {
  return std::to_integer<unsigned>(bytes[at]);
}

// --- Values as the file holds them: 16 or 32 bytes in a row, each a part of several values.

// 32 values in 16 bytes: 0..15 in the low half-bytes, 16..31 in the high.
Quads halves_of_bytes(const std::byte* from) {
  Quads values;
  for (std::size_t j = 0; j < 4; ++j) {
    const auto both = load<Quad>(from + 4 * j);
    values[j] = both & kNibbles;
    values[j + 4] = both >> 4 & kNibbles;
  }
  return values;
}

// 32 values, value i in byte i at `shift`.
Quads parts_of_bytes(const std::byte* from, int shift, Quad mask) {
  Quads values;
  for (std::size_t j = 0; j < 8; ++j) values[j] = load<Quad>(from + 4 * j) >> shift & mask;
  return values;
}

// 32 one-bit values in 32 bits.
Quads single_bits(const std::byte* from) {
  const auto bits = load<std::uint32_t>(from);
  Quads values;
  // The product puts bit i of four at bit 8 i (and others elsewhere).
  for (std::size_t j = 0; j < 8; ++j) values[j] = (bits >> 4 * j & 15) * 0x00204081u & kBits;
  return values;
}

Quads above(const Quads& low, const Quads& high, int shift) {
  Quads values;
  for (std::size_t j = 0; j < 8; ++j) values[j] = low[j] | high[j] << shift;
  return values;
}

// The values q of 32-column group `g` of one file group.
template <DType kType>
Quads file_values(const std::byte* group, std::size_t g) {
  const int half = static_cast<int>(g / 4);
  const int run = static_cast<int>(g % 4);
  const int index = static_cast<int>(g);
  if constexpr (kType == DType::kQ4_0) return halves_of_bytes(group + 2);
  if constexpr (kType == DType::kQ4_1) return halves_of_bytes(group + 4);
  if constexpr (kType == DType::kQ5_0) {
    return above(halves_of_bytes(group + 6), single_bits(group + 2), 4);
  }
  if constexpr (kType == DType::kQ5_1) {
    return above(halves_of_bytes(group + 8), single_bits(group + 4), 4);
  }
  if constexpr (kType == DType::kQ8_0) {
    Quads values = parts_of_bytes(group + 2, 0, ~Quad{0});
    for (Quad& quad : values) quad ^= 0x80808080;
    return values;
  }
  if constexpr (kType == DType::kQ4_K) {
    return parts_of_bytes(group + 16 + g / 2 * 32, index % 2 * 4, kNibbles);
  }
  if constexpr (kType == DType::kQ5_K) {
    return above(parts_of_bytes(group + 48 + g / 2 * 32, index % 2 * 4, kNibbles),
                 parts_of_bytes(group + 16, index, kBits), 4);
  }
  if constexpr (kType == DType::kQ6_K) {
    return above(parts_of_bytes(group + half * 64 + run % 2 * 32, run / 2 * 4, kNibbles),
                 parts_of_bytes(group + 128 + half * 32, run * 2, kPairs), 4);
  }
  if constexpr (kType == DType::kQ2_K) {
    return parts_of_bytes(group + 16 + half * 32, run * 2, kPairs);
  }
  if constexpr (kType == DType::kQ3_K) {
    return above(parts_of_bytes(group + 32 + half * 32, run * 2, kPairs),
                 parts_of_bytes(group, index, kBits), 2);
  }
}

// --- Values as a panel holds them.

template <BlockLayout kLayout>
void put_values(const Quads& values, std::size_t row, std::byte* group) {
  group += sizeof(Quad) * row;
  if constexpr (kLayout.bits) {
    Quad plane = 0;
    for (int j = 0; j < 8; ++j) plane |= (values[j] >> kLayout.bits_shift() & kBits) << j;
    store(group, plane);
  }
  if constexpr (kLayout.pairs) {
    for (int h = 0; h < 2; ++h) {
      Quad plane = 0;
      for (int t = 0; t < 4; ++t) {
        plane |= (values[4 * h + t] >> kLayout.pairs_shift() & kPairs) << 2 * t;
      }
      store(group + kLayout.pairs_at() + 64 * h, plane);
    }
  }
  if constexpr (kLayout.nibbles) {
    for (int j = 0; j < 4; ++j) {
      const Quad plane = (values[j] & kNibbles) | (values[j + 4] & kNibbles) << 4;
      store(group + kLayout.nibbles_at() + 64 * j, plane);
    }
  }
  if constexpr (kLayout.bytes) {
    for (int j = 0; j < 8; ++j) store(group + 64 * j, values[j]);
  }
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

// --- Scales.

void copy_half(const std::byte* from, std::byte* to, std::size_t row) {
  store(to + 2 * row, load<std::uint16_t>(from));
}

// Q4_K, Q5_K: eight scales and eight mins of six bits each, in 12 bytes of the file.
void put_scales_q45(const std::byte* scales, std::size_t row, std::byte* block) {
  std::array<unsigned, 8> high;
  for (std::size_t s = 0; s < 8; ++s) {
    const std::size_t at = s % 4;
    const unsigned low = s < 4 ? (byte_at(scales, at) & 15) | (byte_at(scales, at + 4) & 15) << 4
                               : byte_at(scales, at + 8);
    high[s] = s < 4 ? (byte_at(scales, at) >> 4 & 3) | (byte_at(scales, at + 4) >> 4 & 3) << 2
                    : byte_at(scales, at) >> 6 | byte_at(scales, at + 4) >> 6 << 2;
    block[kScalesQ45At + 16 * s + row] = static_cast<std::byte>(low);
  }
  for (std::size_t p = 0; p < 4; ++p) {
    block[kScalesQ45HighAt + 16 * p + row] =
        static_cast<std::byte>(high[2 * p] | high[2 * p + 1] << 4);
  }
}

// Q3_K: sixteen scales of six bits, in 12 bytes of the file.
void put_scales_q3(const std::byte* scales, std::size_t row, std::byte* block) {
  for (std::size_t p = 0; p < 8; ++p) {
    const unsigned shift = p / 4 * 4;
    const unsigned even = byte_at(scales, 2 * p % 8) >> shift & 15;
    const unsigned odd = byte_at(scales, 2 * p % 8 + 1) >> shift & 15;
    block[kScalesQ3At + 16 * p + row] = static_cast<std::byte>(even | odd << 4);
  }
  for (std::size_t p = 0; p < 4; ++p) {
    unsigned pairs = 0;
    for (std::size_t t = 0; t < 4; ++t) {
      pairs |= (byte_at(scales, 8 + t) >> 2 * p & 3) << 2 * t;
    }
    block[kScalesQ3HighAt + 16 * p + row] = static_cast<std::byte>(pairs);
  }
}

template <DType kType>
void put_header(const std::byte* group, std::size_t row, std::byte* block) {
  constexpr std::size_t kHalfAt = kType == DType::kQ6_K   ? 208
                                  : kType == DType::kQ2_K ? 80
                                  : kType == DType::kQ3_K ? 108
                                                          : 0;
  copy_half(group + kHalfAt, block, row);
  if constexpr (block_layout(kType).mins) copy_half(group + kHalfAt + 2, block + kMinAt, row);
  if constexpr (kType == DType::kQ4_K || kType == DType::kQ5_K) {
    put_scales_q45(group + 4, row, block);
  }
  if constexpr (kType == DType::kQ6_K) {
    for (std::size_t s = 0; s < 16; ++s) block[kScalesQ6At + 16 * s + row] = group[192 + s];
  }
  if constexpr (kType == DType::kQ2_K) {
    for (std::size_t s = 0; s < 16; ++s) block[kScalesQ2At + 16 * s + row] = group[s];
  }
  if constexpr (kType == DType::kQ3_K) put_scales_q3(group + 96, row, block);
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

// --- Panels.

// Puts the values of all groups of one file group. Q4_0's and Q4_1's bytes pair columns as the
// planes do: they are moved as they are.
template <DType kType>
void put_groups(const std::byte* group, std::size_t row, std::byte* block) {
  constexpr BlockLayout kLayout = block_layout(kType);
  if constexpr (kType == DType::kQ4_0 || kType == DType::kQ4_1) {
    const std::byte* from = group + kLayout.header_bytes / kPanelRows;
    std::byte* to = block + kLayout.header_bytes + sizeof(Quad) * row;
    for (std::size_t j = 0; j < 4; ++j) store(to + 64 * j, load<Quad>(from + sizeof(Quad) * j));
  } else {
    for (std::size_t g = 0; g < kLayout.groups; ++g) {
      put_values<kLayout>(file_values<kType>(group, g), row, block + kLayout.group_at(g));
    }
  }
}

// Sixteen rows side by side are more streams than a core follows; those of the next panel lie one
// behind the other. Each `bytes` of a row that have been packed have sixteen times as many fetched.
void prefetch_next_rows(const std::byte* file_rows, std::size_t row_bytes, std::size_t at,
                        std::size_t bytes) {
  const std::byte* next = file_rows + kPanelRows * (row_bytes + at);
  for (std::size_t i = 0; i < kPanelRows * bytes; i += 64) __builtin_prefetch(next + i);
}

template <DType kType>
void pack_quantised(const std::byte* file_rows, std::size_t rows, std::size_t columns,
                    std::byte* panel) {
  constexpr BlockLayout kLayout = block_layout(kType);
  constexpr std::size_t kGroupBytes = kLayout.block_bytes() / kPanelRows;
  static constexpr std::byte kZeros[kGroupBytes] = {};
  const std::size_t file_row_bytes = columns / kLayout.columns() * kGroupBytes;
  for (std::size_t at = 0; at < file_row_bytes; at += kGroupBytes) {
    for (std::size_t row = 0; row < kPanelRows; ++row) {
      const std::byte* group = row < rows ? file_rows + row * file_row_bytes + at : kZeros;
      put_header<kType>(group, row, panel);
      put_groups<kType>(group, row, panel);
    }
    prefetch_next_rows(file_rows, file_row_bytes, at, kGroupBytes);
    panel += kLayout.block_bytes();
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

// Float panels: `kTogether` consecutive columns of a row lie side by side.
template <typename T, std::size_t kTogether>
void pack_floats(const std::byte* file_rows, std::size_t rows, std::size_t columns,
                 std::byte* panel) {
  struct Run {
    T values[kTogether];
  };
  for (std::size_t c = 0; c < columns; c += kTogether) {
    prefetch_next_rows(file_rows, columns * sizeof(T), c * sizeof(T), sizeof(Run));
    for (std::size_t row = 0; row < kPanelRows; ++row) {
      Run run{};
      if (row < rows) run = load<Run>(file_rows + (row * columns + c) * sizeof(T));
      store(panel + (c * kPanelRows + row * kTogether) * sizeof(T), run);
    }
  }
}

}  // namespace

void pack_panel(DType type, const std::byte* file_rows, std::size_t rows, std::size_t columns,
                std::byte* panel) {
  if (type == DType::kF32) return pack_floats<std::uint32_t, 1>(file_rows, rows, columns, panel);
  if (type == DType::kF16) return pack_floats<std::uint16_t, 1>(file_rows, rows, columns, panel);
  if (type == DType::kBF16) {
    if (columns % 2 != 0) {
      throw Error(ErrorKind::kInternal,
                  text("BF16 panels need an even number of columns, not ", columns));
    }
    return pack_floats<std::uint16_t, 2>(file_rows, rows, columns, panel);
  }
  with_quantised(type,
                 [&]<DType kType>() { pack_quantised<kType>(file_rows, rows, columns, panel); });
}

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
