// Packed weights as a thread reads them: one row of a panel, 32 columns at a time.
//
// Sixteen neighbouring threads take a panel's sixteen rows, so that each load of theirs is 64
// consecutive bytes. Arithmetic is that of the CPU's kernels, operation for operation.
#pragma once

#include <cstdint>

#include "layers/activations.h"
#include "layers/cuda/kernel.h"
#include "memory/dtype.h"
#include "memory/packed.h"
#include "memory/packed_layout.h"

namespace sluice {

// What 32 columns of a row mean: scale (q - offset) - minus_min.
struct RowScales {
  float scale[2];  // of all columns, or of the first and last 16
  float minus_min[2];
};
struct RowGroup : RowScales {
  unsigned quads[8];  // byte i of quads[j]: q of column 4 j + i; of bytes: q - offset, signed
};

__device__ __forceinline__ unsigned load_word(const std::byte* at) {
  return __ldcs(reinterpret_cast<const unsigned*>(at));  // weights are read once
}
__device__ __forceinline__ int load_byte(const std::byte* at) {
  return static_cast<int>(__ldg(reinterpret_cast<const unsigned char*>(at)));
}
__device__ __forceinline__ float load_half(const std::byte* at) {
  return __half2float(__ldg(reinterpret_cast<const __half*>(at)));
}

// An int of less than 2^22 in size, with one addition where a conversion takes four times as long.
__device__ __forceinline__ float small_to_float(int value) {
  return __int_as_float(0x4b400000 + value) - 12582912.0f;
}

template <DType kType>
__device__ __forceinline__ void load_scales(const std::byte* block, int g, int row, RowScales& to) {
  constexpr BlockLayout kLayout = block_layout(kType);
  const float d = load_half(block + 2 * row);
  float m = 0.0f;
  if constexpr (kLayout.mins) m = load_half(block + kMinAt + 2 * row);
  const auto at = [&](std::size_t begin, int line) {
    return load_byte(block + begin + 16 * line + row);
  };
  if constexpr (kType == DType::kQ4_K || kType == DType::kQ5_K) {
    const int low = at(kScalesQ45At, g);
    const int high = at(kScalesQ45HighAt, g / 2) >> g % 2 * 4;
    to.scale[0] = d * small_to_float((low & 15) | (high & 3) << 4);
    to.minus_min[0] = m * small_to_float(low >> 4 | (high & 12) << 2);
  } else if constexpr (kType == DType::kQ6_K) {
    for (int h = 0; h < 2; ++h) {
      const int scale = static_cast<std::int8_t>(at(kScalesQ6At, 2 * g + h));
      to.scale[h] = d * small_to_float(scale);
    }
  } else if constexpr (kType == DType::kQ2_K) {
    for (int h = 0; h < 2; ++h) {
      const int both = at(kScalesQ2At, 2 * g + h);
      to.scale[h] = d * small_to_float(both & 15);
      to.minus_min[h] = m * small_to_float(both >> 4);
    }
  } else if constexpr (kType == DType::kQ3_K) {
    const int lows = at(kScalesQ3At, g);
    const int highs = at(kScalesQ3HighAt, g / 2) >> g % 2 * 4;
    for (int h = 0; h < 2; ++h) {
      const int scale = (lows >> 4 * h & 15) | (highs >> 2 * h & 3) << 4;
      to.scale[h] = d * small_to_float(scale - 32);
    }
  } else {
    to.scale[0] = d;
    if constexpr (kLayout.mins) to.minus_min[0] = -m;
  }
}

template <BlockLayout kLayout>
__device__ __forceinline__ void load_values(const std::byte* group, int row, RowGroup& to) {
  constexpr unsigned kEveryByte = 0x01010101;
  group += sizeof(unsigned) * row;
  unsigned nibbles[4] = {};
  unsigned pairs[2] = {};
  unsigned bits = 0;
  if constexpr (kLayout.bits) bits = load_word(group);
  if constexpr (kLayout.pairs) {
    for (int h = 0; h < 2; ++h) pairs[h] = load_word(group + kLayout.pairs_at() + 64 * h);
  }
  if constexpr (kLayout.nibbles) {
#pragma unroll
    for (int j = 0; j < 4; ++j) nibbles[j] = load_word(group + kLayout.nibbles_at() + 64 * j);
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    unsigned q = 0;
    if constexpr (kLayout.bytes) q = load_word(group + 64 * j) ^ 0x80808080u;
    if constexpr (kLayout.nibbles) q = nibbles[j % 4] >> j / 4 * 4 & kEveryByte * 15;
    if constexpr (kLayout.pairs) {
      q |= (pairs[j / 4] >> j % 4 * 2 & kEveryByte * 3) << kLayout.pairs_shift();
    }
    if constexpr (kLayout.bits) q |= (bits >> j & kEveryByte) << kLayout.bits_shift();
    to.quads[j] = q;
  }
}

// Quads j and j + 4 of a row, j < 4 known at run time: they share their words.
template <BlockLayout kLayout>
__device__ __forceinline__ uint2 load_quad_pair(const std::byte* group, int row, int j) {
  constexpr unsigned kEveryByte = 0x01010101;
  group += sizeof(unsigned) * row;
  uint2 q{0, 0};
  if constexpr (kLayout.bytes) {
    q = {load_word(group + 64 * j) ^ 0x80808080u, load_word(group + 64 * (j + 4)) ^ 0x80808080u};
  }
  if constexpr (kLayout.nibbles) {
    const unsigned both = load_word(group + kLayout.nibbles_at() + 64 * j);
    q = {both & kEveryByte * 15, both >> 4 & kEveryByte * 15};
  }
  if constexpr (kLayout.pairs) {
    const std::byte* planes = group + kLayout.pairs_at();
    q.x |= (load_word(planes) >> 2 * j & kEveryByte * 3) << kLayout.pairs_shift();
    q.y |= (load_word(planes + 64) >> 2 * j & kEveryByte * 3) << kLayout.pairs_shift();
  }
  if constexpr (kLayout.bits) {
    const unsigned bits = load_word(group) >> j;
    q.x |= (bits & kEveryByte) << kLayout.bits_shift();
    q.y |= (bits >> 4 & kEveryByte) << kLayout.bits_shift();
  }
  return q;
}

// Group `g` of the block at `block`, row `row` of the panel.
template <DType kType>
__device__ __forceinline__ void load_group(const std::byte* block, int g, int row, RowGroup& to) {
  constexpr BlockLayout kLayout = block_layout(kType);
  load_values<kLayout>(block + kLayout.group_at(g), row, to);
  load_scales<kType>(block, g, row, to);
}

// What the values of quads are larger than the weights' own.
template <DType kType>
inline constexpr int kQuadOffset = block_layout(kType).bytes ? 0 : block_layout(kType).offset();

}  // namespace sluice
