// Unpacking: a group of 16 rows x 32 columns of a packed panel, made ready for dot products.
#pragma once

#include "layers/products_lanes.h"
#include "memory/packed_layout.h"

namespace sluice {

// How far ahead of its reader a panel is fetched. Memory answers after 100 ns and more, in which a
// core reads 4 KiB.
inline constexpr std::size_t kPrefetchBytes = 4096;

template <typename Isa>
struct Weights {
  Integers<Isa> quads[8];
  Floats<Isa> scale[2];  // of all columns, or of the first and last 16
  Floats<Isa> minus_min[2];
};

// What the values of quads are larger than the weights' own, as a power of two; -1: nothing. Full
// bytes are signed where they would not fit 16 bits as products with others.
template <typename Isa, BlockLayout kLayout>
inline constexpr int weights_offset_log2 =
    kLayout.bytes && !Isa::kByteDot ? -1 : kLayout.offset_log2;

// Quad plane kJ of a group: byte 4 r + i is the value q of row r, column 4 kJ + i.
template <typename Isa, BlockLayout kLayout, int kJ>
SLUICE_INLINE Integers<Isa> quad_plane(const std::byte* group) {
  constexpr std::uint32_t kEveryByte = 0x01010101;
  if constexpr (kLayout.bytes) {
    const auto bytes = load<Isa>(group + 64 * kJ);
    return Isa::kByteDot ? bytes : flip_signs(bytes);
  }
  Integers<Isa> q = broadcast<Isa>(0);
  if constexpr (kLayout.nibbles) {
    const auto plane = load<Isa>(group + kLayout.nibbles_at() + 64 * (kJ % 4));
    q = masked(shift<kJ / 4 * -4>(plane), kEveryByte * 15);
  }
  if constexpr (kLayout.pairs) {
    constexpr int kTo = kLayout.pairs_shift();
    const auto plane = load<Isa>(group + kLayout.pairs_at() + 64 * (kJ / 4));
    q = bits_or(q, masked(shift<kTo - kJ % 4 * 2>(plane), kEveryByte * (3 << kTo)));
  }
  if constexpr (kLayout.bits) {
    constexpr int kTo = kLayout.bits_shift();
    q = bits_or(q, masked(shift<kTo - kJ>(load<Isa>(group)), kEveryByte * (1 << kTo)));
  }
  return q;
}

template <BlockLayout kLayout, int kJ = 0, typename Isa>
SLUICE_INLINE void unpack_values(const std::byte* group, Weights<Isa>& weights) {
  weights.quads[kJ] = quad_plane<Isa, kLayout, kJ>(group);
  if constexpr (kJ < 7) unpack_values<kLayout, kJ + 1>(group, weights);
}

// The scales (and mins, negated) of group `g`, given the block's d and dmin, or m negated.
template <DType kType, typename Isa>
SLUICE_INLINE void unpack_scales(const std::byte* block, int g, const Floats<Isa>& d,
                                 const Floats<Isa>& m, Weights<Isa>& weights) {
  if constexpr (kType == DType::kQ4_K || kType == DType::kQ5_K) {
    const auto low = load_unsigned<Isa>(block + kScalesQ45At + 16 * g);
    const auto pair = load_unsigned<Isa>(block + kScalesQ45HighAt + 16 * (g / 2));
    const auto high = shift_right_by(pair, g % 2 * 4);
    const auto scale = bits_or(masked(low, 15), shift<4>(masked(high, 3)));
    const auto min = bits_or(shift<-4>(low), shift<2>(masked(high, 12)));
    weights.scale[0] = multiply(d, to_float(scale));
    weights.minus_min[0] = multiply(m, to_float(min));
  } else if constexpr (kType == DType::kQ6_K) {
    for (int h = 0; h < 2; ++h) {
      const auto scale = load_signed<Isa>(block + kScalesQ6At + 16 * (2 * g + h));
      weights.scale[h] = multiply(d, to_float(scale));
    }
  } else if constexpr (kType == DType::kQ2_K) {
    for (int h = 0; h < 2; ++h) {
      const auto both = load_unsigned<Isa>(block + kScalesQ2At + 16 * (2 * g + h));
      weights.scale[h] = multiply(d, to_float(masked(both, 15)));
      weights.minus_min[h] = multiply(m, to_float(shift<-4>(both)));
    }
  } else if constexpr (kType == DType::kQ3_K) {
    const auto lows = load_unsigned<Isa>(block + kScalesQ3At + 16 * g);
    const auto four = load_unsigned<Isa>(block + kScalesQ3HighAt + 16 * (g / 2));
    const auto highs = shift_right_by(four, g % 2 * 4);
    for (int h = 0; h < 2; ++h) {
      const auto low = masked(h == 0 ? lows : shift<-4>(lows), 15);
      const auto high = masked(h == 0 ? shift<4>(highs) : shift<2>(highs), 48);
      const auto scale = subtract(bits_or(low, high), broadcast<Isa>(32));
      weights.scale[h] = multiply(d, to_float(scale));
    }
  } else {
    weights.scale[0] = d;
    if constexpr (block_layout(kType).mins) weights.minus_min[0] = m;
  }
}

// Has a group fetched that will be read later on.
template <BlockLayout kLayout>
SLUICE_INLINE void prefetch_group(const std::byte* ahead) {
  for (std::size_t line = 0; line < kLayout.block_bytes() / kLayout.groups; line += 64) {
    __builtin_prefetch(ahead + line);
  }
}

// Unpacks group `g` of the block at `block`.
template <DType kType, typename Isa>
SLUICE_INLINE void unpack(const std::byte* block, int g, Weights<Isa>& weights) {
  constexpr BlockLayout kLayout = block_layout(kType);
  const std::byte* group = block + kLayout.group_at(g);
  const auto d = load_halves<Isa>(block);
  Floats<Isa> m = d;
  if constexpr (kLayout.mins) m = load_halves<Isa>(block + kMinAt);
  if constexpr (kLayout.groups == 1) m = multiply(m, broadcast<Isa>(-1.0f));
  unpack_scales<kType>(block, g, d, m, weights);
  unpack_values<kLayout>(group, weights);
}

}  // namespace sluice
