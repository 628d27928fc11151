#include "memory/packed.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "memory/error.h"
#include "memory/packed_layout.h"
#include "memory/packed_quads.h"
#include "memory/quantised_types.h"

namespace sluice {

namespace {

// Packing turns a few rows at once: four values of each of them, and 32.
constexpr std::size_t kTurnedRows = 4;
using Lanes = Quad __attribute__((vector_size(kTurnedRows * sizeof(Quad))));
using Columns = std::array<Lanes, 8>;
using Rows = std::array<const std::byte*, kTurnedRows>;

template <typename T>
void store(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof(value));
}

// Sixteen bytes of each row at `at`: [j] holds the j-th four.
std::array<Lanes, 4> turned(const Rows& rows, std::size_t at) {
  const auto a = load<Lanes>(rows[0] + at);
  const auto b = load<Lanes>(rows[1] + at);
  const auto c = load<Lanes>(rows[2] + at);
  const auto d = load<Lanes>(rows[3] + at);
  const Lanes ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const Lanes ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Lanes cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const Lanes cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  return {__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5),
          __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
          __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
          __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
}

// Four bytes of each row at `at`.
Lanes quads_at(const Rows& rows, std::size_t at) {
  Lanes quads{};
  for (std::size_t r = 0; r < kTurnedRows; ++r) quads[r] = load<Quad>(rows[r] + at);
  return quads;
}

// The low half-bytes of both, the second's in the high ones.
template <typename Words>
constexpr Words half_bytes(Words low, Words high) {
  return (low & kNibbles) | (high & kNibbles) << 4;
}

// --- Values as the file holds them: 16 or 32 bytes in a row, each a part of several values.

// 32 values in 16 bytes: 0..15 in the low half-bytes, 16..31 in the high.
Columns halves_of_bytes(const Rows& rows, std::size_t at) {
  const std::array<Lanes, 4> both = turned(rows, at);
  Columns values;
  for (std::size_t j = 0; j < 4; ++j) {
    values[j] = both[j] & kNibbles;
    values[j + 4] = both[j] >> 4 & kNibbles;
  }
  return values;
}

// 32 values, value i in byte i at `shift`.
Columns parts_of_bytes(const Rows& rows, std::size_t at, int shift, Quad mask) {
  const std::array<Lanes, 4> first = turned(rows, at);
  const std::array<Lanes, 4> second = turned(rows, at + sizeof(Lanes));
  Columns values;
  for (std::size_t j = 0; j < 4; ++j) {
    values[j] = first[j] >> shift & mask;
    values[j + 4] = second[j] >> shift & mask;
  }
  return values;
}

// 32 one-bit values in 32 bits.
Columns single_bits(const Rows& rows, std::size_t at) {
  const Lanes bits = quads_at(rows, at);
  Columns values;
  // The product puts bit i of four at bit 8 i (and others elsewhere).
  for (int j = 0; j < 8; ++j) values[j] = (bits >> 4 * j & 15) * 0x00204081u & kBits;
  return values;
}

Columns above(const Columns& low, const Columns& high, int shift) {
  Columns values;
  for (std::size_t j = 0; j < 8; ++j) values[j] = low[j] | high[j] << shift;
  return values;
}

// The values q of 32-column group `g` of the rows' file groups.
template <DType kType>
Columns file_values(const Rows& rows, std::size_t g) {
  const std::size_t half = g / 4;
  const int run = static_cast<int>(g % 4);
  const int index = static_cast<int>(g);
  if constexpr (kType == DType::kQ5_0) {
    return above(halves_of_bytes(rows, 6), single_bits(rows, 2), 4);
  }
  if constexpr (kType == DType::kQ5_1) {
    return above(halves_of_bytes(rows, 8), single_bits(rows, 4), 4);
  }
  if constexpr (kType == DType::kQ8_0) {
    Columns values = parts_of_bytes(rows, 2, 0, ~Quad{0});
    for (Lanes& four : values) four ^= 0x80808080;
    return values;
  }
  if constexpr (kType == DType::kQ4_K) {
    return parts_of_bytes(rows, 16 + g / 2 * 32, index % 2 * 4, kNibbles);
  }
  if constexpr (kType == DType::kQ5_K) {
    return above(parts_of_bytes(rows, 48 + g / 2 * 32, index % 2 * 4, kNibbles),
                 parts_of_bytes(rows, 16, index, kBits), 4);
  }
  if constexpr (kType == DType::kQ6_K) {
    return above(parts_of_bytes(rows, half * 64 + run % 2 * 32, run / 2 * 4, kNibbles),
                 parts_of_bytes(rows, 128 + half * 32, run * 2, kPairs), 4);
  }
  if constexpr (kType == DType::kQ2_K) {
    return parts_of_bytes(rows, 16 + half * 32, run * 2, kPairs);
  }
  if constexpr (kType == DType::kQ3_K) {
    return above(parts_of_bytes(rows, 32 + half * 32, run * 2, kPairs),
                 parts_of_bytes(rows, 0, index, kBits), 2);
  }
}

// --- Values as a panel holds them.

// Of kTurnedRows rows from `row` on.
template <BlockLayout kLayout>
void put_values(const Columns& values, std::size_t row, std::byte* group) {
  group += sizeof(Quad) * row;
  if constexpr (kLayout.bits) {
    Lanes plane{};
    for (int j = 0; j < 8; ++j) plane |= (values[j] >> kLayout.bits_shift() & kBits) << j;
    store(group, plane);
  }
  if constexpr (kLayout.pairs) {
    for (int h = 0; h < 2; ++h) {
      Lanes plane{};
      for (int t = 0; t < 4; ++t) {
        plane |= (values[4 * h + t] >> kLayout.pairs_shift() & kPairs) << 2 * t;
      }
      store(group + kLayout.pairs_at() + 64 * h, plane);
    }
  }
  if constexpr (kLayout.nibbles) {
    for (int j = 0; j < 4; ++j) {
      store(group + kLayout.nibbles_at() + 64 * j, half_bytes(values[j], values[j + 4]));
    }
  }
  if constexpr (kLayout.bytes) {
    for (int j = 0; j < 8; ++j) store(group + 64 * j, values[j]);
  }
}

// --- Scales. A panel has those of a sub-block in sixteen bytes, a row each.

// Of kTurnedRows rows: the i-th of four bytes at `at`, in [i].
using Quartet = std::array<Quad, 4>;
static_assert(kTurnedRows == sizeof(Quad));

Quartet turned_bytes(const Rows& rows, std::size_t at) {
  using Bytes = std::uint8_t __attribute__((vector_size(sizeof(Lanes))));
  const auto bytes = reinterpret_cast<Bytes>(quads_at(rows, at));
  const Bytes turned =
      __builtin_shufflevector(bytes, bytes, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  Quartet quads;
  std::memcpy(quads.data(), &turned, sizeof(turned));
  return quads;
}

// Those of four sub-blocks as the file has them, a byte each.
void put_scale_bytes(const Quartet& scales, std::byte* to) {
  for (std::size_t s = 0; s < scales.size(); ++s) store(to + kPanelRows * s, scales[s]);
}

// Q4_K, Q5_K: eight scales and eight mins of six bits each, in 12 bytes of the file.
void put_scales_q45(const Rows& rows, std::size_t at, std::byte* block) {
  const Quartet scales = turned_bytes(rows, at);
  const Quartet mins = turned_bytes(rows, at + 4);
  Quartet low;
  std::array<Quad, 8> high;
  for (std::size_t s = 0; s < 4; ++s) {
    low[s] = half_bytes(scales[s], mins[s]);
    high[s] = (scales[s] >> 4 & kPairs) | (mins[s] >> 4 & kPairs) << 2;
    high[s + 4] = (scales[s] >> 6 & kPairs) | (mins[s] >> 6 & kPairs) << 2;
  }
  put_scale_bytes(low, block + kScalesQ45At);
  put_scale_bytes(turned_bytes(rows, at + 8), block + kScalesQ45At + 4 * kPanelRows);
  for (std::size_t p = 0; p < 4; ++p) {
    store(block + kScalesQ45HighAt + kPanelRows * p, half_bytes(high[2 * p], high[2 * p + 1]));
  }
}

// Q3_K: sixteen scales of six bits, in 12 bytes of the file.
void put_scales_q3(const Rows& rows, std::size_t at, std::byte* block) {
  const Quartet low[] = {turned_bytes(rows, at), turned_bytes(rows, at + 4)};
  const Quartet high = turned_bytes(rows, at + 8);
  for (std::size_t p = 0; p < 8; ++p) {
    const Quad* two = &low[p / 2 % 2][2 * (p % 2)];
    const int shift = p < 4 ? 0 : 4;
    store(block + kScalesQ3At + kPanelRows * p, half_bytes(two[0] >> shift, two[1] >> shift));
  }
  for (std::size_t p = 0; p < 4; ++p) {
    Quad pairs = 0;
    for (std::size_t t = 0; t < 4; ++t) pairs |= (high[t] >> 2 * p & kPairs) << 2 * t;
    store(block + kScalesQ3HighAt + kPanelRows * p, pairs);
  }
}

// Q2_K, Q6_K: sixteen of a byte each.
void put_scales_q26(const Rows& rows, std::size_t at, std::byte* to) {
  for (std::size_t s = 0; s < 16; s += 4) {
    put_scale_bytes(turned_bytes(rows, at + s), to + kPanelRows * s);
  }
}

void copy_halves(const Rows& rows, std::size_t at, std::byte* to) {
  for (std::size_t r = 0; r < kTurnedRows; ++r) {
    store(to + 2 * r, load<std::uint16_t>(rows[r] + at));
  }
}

template <DType kType>
void put_header(const Rows& rows, std::size_t row, std::byte* block) {
  constexpr std::size_t kHalfAt = kType == DType::kQ6_K   ? 208
                                  : kType == DType::kQ2_K ? 80
                                  : kType == DType::kQ3_K ? 108
                                                          : 0;
  copy_halves(rows, kHalfAt, block + 2 * row);
  if constexpr (block_layout(kType).mins) copy_halves(rows, kHalfAt + 2, block + kMinAt + 2 * row);
  if constexpr (kType == DType::kQ4_K || kType == DType::kQ5_K) {
    put_scales_q45(rows, 4, block + row);
  }
  if constexpr (kType == DType::kQ6_K) put_scales_q26(rows, 192, block + kScalesQ6At + row);
  if constexpr (kType == DType::kQ2_K) put_scales_q26(rows, 0, block + kScalesQ2At + row);
  if constexpr (kType == DType::kQ3_K) put_scales_q3(rows, 96, block + row);
}

// --- Panels.

// Puts the values of all groups of the rows' file groups. Q4_0's and Q4_1's bytes pair columns as
// the planes do: they are turned, and no more.
template <DType kType>
void put_groups(const Rows& rows, std::size_t row, std::byte* block) {
  constexpr BlockLayout kLayout = block_layout(kType);
  if constexpr (kType == DType::kQ4_0 || kType == DType::kQ4_1) {
    const std::array<Lanes, 4> planes = turned(rows, kLayout.header_bytes / kPanelRows);
    std::byte* to = block + kLayout.header_bytes + sizeof(Quad) * row;
    for (std::size_t j = 0; j < 4; ++j) store(to + 64 * j, planes[j]);
  } else {
    for (std::size_t g = 0; g < kLayout.groups; ++g) {
      put_values<kLayout>(file_values<kType>(rows, g), row, block + kLayout.group_at(g));
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
    for (std::size_t row = 0; row < kPanelRows; row += kTurnedRows) {
      Rows groups;
      for (std::size_t r = 0; r < kTurnedRows; ++r) {
        groups[r] = row + r < rows ? file_rows + (row + r) * file_row_bytes + at : kZeros;
      }
      put_header<kType>(groups, row, panel);
      put_groups<kType>(groups, row, panel);
    }
    prefetch_next_rows(file_rows, file_row_bytes, at, kGroupBytes);
    panel += kLayout.block_bytes();
  }
}

// Some bytes of the rows, to where the panel has those columns of the first of them.
template <typename T, std::size_t kTogether>
void put_floats(const Rows& rows, std::size_t bytes, std::byte* to) {
  constexpr std::size_t kRunBytes = kTogether * sizeof(T);
  using Halves = std::uint16_t __attribute__((vector_size(kTurnedRows * sizeof(std::uint16_t))));
  std::size_t at = 0;
  for (; at + sizeof(Lanes) <= bytes; at += sizeof(Lanes)) {
    for (const Lanes& four : turned(rows, at)) {
      if constexpr (kRunBytes == sizeof(Quad)) {
        store(to, four);
      } else {  // two columns in each lane
        store(to, __builtin_convertvector(four, Halves));
        to += kPanelRows * kRunBytes;
        store(to, __builtin_convertvector(four >> 16, Halves));
      }
      to += kPanelRows * kRunBytes;
    }
  }
  for (; at < bytes; at += kRunBytes, to += kPanelRows * kRunBytes) {
    for (std::size_t r = 0; r < kTurnedRows; ++r) {
      std::memcpy(to + r * kRunBytes, rows[r] + at, kRunBytes);
    }
  }
}

// Float panels: `kTogether` consecutive columns of a row lie side by side. Of each row a line at a
// time, since rows often lie a power of two apart and would push each other out of a cache.
template <typename T, std::size_t kTogether>
void pack_floats(const std::byte* file_rows, std::size_t rows, std::size_t columns,
                 std::byte* panel) {
  constexpr std::size_t kLine = 64;
  static constexpr std::byte kZeros[kLine] = {};
  const std::size_t file_row_bytes = columns * sizeof(T);
  for (std::size_t at = 0; at < file_row_bytes; at += kLine) {
    const std::size_t bytes = std::min(kLine, file_row_bytes - at);
    prefetch_next_rows(file_rows, file_row_bytes, at, bytes);
    for (std::size_t row = 0; row < kPanelRows; row += kTurnedRows) {
      Rows lines;
      for (std::size_t r = 0; r < kTurnedRows; ++r) {
        lines[r] = row + r < rows ? file_rows + (row + r) * file_row_bytes + at : kZeros;
      }
      put_floats<T, kTogether>(lines, bytes, panel + row * kTogether * sizeof(T));
    }
    panel += kPanelRows * bytes;
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

}  // namespace sluice
