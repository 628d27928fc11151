// A page of the cache as the tensor cores take it: eight halves at a time, of whatever type it is.
#pragma once

#include "layers/cuda/attention.cuh"

namespace sluice {

inline constexpr int kValuesPerLoad = 8;  // halves in sixteen bytes

// Bytes i and i + 1 of four, signed, as halves: 1152 more than each is a half that ends in its
// bits.
template <int i>
__device__ __forceinline__ __half2 whole_halves(unsigned four) {
  const unsigned biased = __byte_perm(four ^ 0x80808080u, 0x64646464u, 0x4140 + i * 0x101);
  return __hfma2(*reinterpret_cast<const __half2*>(&biased), __float2half2_rn(1.0f),
                 __float2half2_rn(-1152.0f));
}

// Eight of q8_0 times the scales of each, rounded to halves.
__device__ __forceinline__ int4 scaled_halves(int2 bytes, const __half2 (&scales)[4]) {
  const auto low = static_cast<unsigned>(bytes.x);
  const auto high = static_cast<unsigned>(bytes.y);
  const __half2 whole[4] = {whole_halves<0>(low), whole_halves<2>(low), whole_halves<0>(high),
                            whole_halves<2>(high)};
  alignas(16) __half2 halves[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) halves[i] = __hfma2(whole[i], scales[i], __float2half2_rn(0.0f));
  return *reinterpret_cast<const int4*>(halves);
}

// Load `i` of a page's keys [kDim][64], of its values [64][kDim]: eight of them, as halves.
template <typename Value>
struct PageLoads {
  const int4* keys;
  const int4* values;

  __device__ PageLoads(const KvLayout& layout, const std::byte* page)
      : keys(reinterpret_cast<const int4*>(page)),
        values(reinterpret_cast<const int4*>(page + layout.keys_bytes())) {}
  __device__ int4 key(unsigned i) const { return __ldg(keys + i); }
  __device__ int4 value(unsigned i, unsigned /*loads*/) const { return __ldg(values + i); }
};
template <>
struct PageLoads<std::int8_t> {
  const int2* keys;
  const int2* values;
  const __half* key_scales;
  const __half* value_scales;

  __device__ PageLoads(const KvLayout& layout, const std::byte* page)
      : keys(reinterpret_cast<const int2*>(page)),
        values(reinterpret_cast<const int2*>(page + layout.keys_bytes())),
        key_scales(scales_before(layout, page + layout.keys_bytes())),
        value_scales(scales_before(layout, page + layout.keys_bytes() + layout.values_bytes())) {}

  // Each of eight tokens has its own scale.
  __device__ int4 key(unsigned i) const {
    constexpr unsigned kLoads = kPageTokens / kValuesPerLoad;
    const unsigned group = i / kLoads / kKvGroupValues;
    const int4 scales =
        __ldg(reinterpret_cast<const int4*>(key_scales + group * kPageTokens) + i % kLoads);
    return scaled_halves(__ldg(keys + i), reinterpret_cast<const __half2(&)[4]>(scales));
  }
  // Eight columns have one scale; a row is so many loads.
  __device__ int4 value(unsigned i, unsigned loads) const {
    const unsigned group = i % loads * kValuesPerLoad / kKvGroupValues;
    const __half scale = __ldg(value_scales + group * kPageTokens + i / loads);
    const __half2 two = __half2half2(scale);
    const __half2 scales[4] = {two, two, two, two};
    return scaled_halves(__ldg(values + i), scales);
  }
};

}  // namespace sluice
