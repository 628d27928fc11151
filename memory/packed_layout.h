// Where the parts of a packed block lie and what they mean: memory/packed.h's table as constants,
// for the code that packs blocks and the kernels that read them.
#pragma once

#include <cstddef>

#include "memory/dtype.h"

namespace sluice {

// Columns of a group of values that lie together in planes.
inline constexpr std::size_t kPlaneColumns = 32;

// A block of a quantised type: a header of scales, then `groups` groups of 16 rows x 32 columns,
// each of these planes in this order:
//   bits 64 bytes, pairs 128, nibbles 256, bytes 512
// A value q is made of its nibble (or byte), then its pair, then its bit, lowest first. It means
//   value = scale * (q - offset) + min
// with one scale and min a row for every 32 columns, or every 16 if there are `halves`.
struct BlockLayout {
  std::size_t groups = 1;
  std::size_t header_bytes = 0;
  bool bits = false;
  bool pairs = false;
  bool nibbles = false;
  bool bytes = false;
  int offset_log2 = -1;  // offset = 1 << offset_log2; -1: no offset
  bool mins = false;
  bool halves = false;

  constexpr std::size_t pairs_at() const { return bits ? 64 : 0; }
  constexpr std::size_t nibbles_at() const { return pairs_at() + (pairs ? 128 : 0); }
  constexpr std::size_t group_bytes() const {
    return nibbles_at() + (nibbles ? 256 : 0) + (bytes ? 512 : 0);
  }
  constexpr std::size_t group_at(std::size_t group) const {
    return header_bytes + group * group_bytes();
  }
  constexpr std::size_t block_bytes() const { return group_at(groups); }
  constexpr std::size_t columns() const { return groups * kPlaneColumns; }
  constexpr int pairs_shift() const { return nibbles ? 4 : 0; }
  constexpr int bits_shift() const { return pairs_shift() + (pairs ? 2 : 0); }
  constexpr int offset() const { return offset_log2 < 0 ? 0 : 1 << offset_log2; }
};

// Parts of a header, in bytes from the block's start. d always comes first.
inline constexpr std::size_t kMinAt = 32;        // m, dmin: f16 [16]
inline constexpr std::size_t kScalesQ45At = 64;  // Q4_K, Q5_K: low bits of scale and min [8][16]
inline constexpr std::size_t kScalesQ45HighAt = 192;  // their high bits [4][16]
inline constexpr std::size_t kScalesQ6At = 32;        // Q6_K: i8 [16][16]
inline constexpr std::size_t kScalesQ2At = 64;        // Q2_K: scale and min [16][16]
inline constexpr std::size_t kScalesQ3At = 32;        // Q3_K: low bits [8][16]
inline constexpr std::size_t kScalesQ3HighAt = 160;   // high bits [4][16]

constexpr BlockLayout block_layout(DType type) {
  switch (type) {
    case DType::kQ4_0:
      return {.header_bytes = 32, .nibbles = true, .offset_log2 = 3};
    case DType::kQ4_1:
      return {.header_bytes = 64, .nibbles = true, .mins = true};
    case DType::kQ5_0:
      return {.header_bytes = 32, .bits = true, .nibbles = true, .offset_log2 = 4};
    case DType::kQ5_1:
      return {.header_bytes = 64, .bits = true, .nibbles = true, .mins = true};
    case DType::kQ8_0:
      return {.header_bytes = 32, .bytes = true, .offset_log2 = 7};
    case DType::kQ2_K:
      return {.groups = 8, .header_bytes = 320, .pairs = true, .mins = true, .halves = true};
    case DType::kQ3_K:
      return {.groups = 8,
              .header_bytes = 224,
              .bits = true,
              .pairs = true,
              .offset_log2 = 2,
              .halves = true};
    case DType::kQ4_K:
      return {.groups = 8, .header_bytes = 256, .nibbles = true, .mins = true};
    case DType::kQ5_K:
      return {.groups = 8, .header_bytes = 256, .bits = true, .nibbles = true, .mins = true};
    case DType::kQ6_K:
      return {.groups = 8,
              .header_bytes = 288,
              .pairs = true,
              .nibbles = true,
              .offset_log2 = 5,
              .halves = true};
    default:
      return {};
  }
}

}  // namespace sluice
