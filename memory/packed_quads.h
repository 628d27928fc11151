// The words that packed.cpp puts together and packed_decode.cpp takes apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sluice {

// Four values of a row, a byte each, in the order of the columns.
using Quad = std::uint32_t;

inline constexpr Quad kNibbles = 0x0f0f0f0f;
inline constexpr Quad kPairs = 0x03030303;
inline constexpr Quad kBits = 0x01010101;

template <typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

}  // namespace sluice
