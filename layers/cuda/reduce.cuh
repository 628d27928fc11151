// Sums and maxima over a warp and over a block of threads, in one fixed order.
#pragma once

#include "layers/cuda/kernel.h"

namespace sluice {

inline constexpr unsigned kWholeWarp = 0xffffffffu;
inline constexpr int kWarpThreads = 32;

template <typename T>
__device__ __forceinline__ T warp_sum(T value, int width = kWarpThreads) {
  for (int other = width / 2; other > 0; other /= 2) {
    value += __shfl_xor_sync(kWholeWarp, value, other);
  }
  return value;
}

template <typename T>
__device__ __forceinline__ T warp_max(T value) {
  for (int other = kWarpThreads / 2; other > 0; other /= 2) {
    const T theirs = __shfl_xor_sync(kWholeWarp, value, other);
    value = value < theirs ? theirs : value;
  }
  return value;
}

// Of all threads of a block of kWarps warps, to all of them.
template <int kWarps>
__device__ __forceinline__ float block_sum(float value) {
  SLUICE_SHARED(float, parts, [kWarps]);
  value = warp_sum(value);
  if (threadIdx.x % kWarpThreads == 0) parts[threadIdx.x / kWarpThreads] = value;
  __syncthreads();
  float sum = parts[0];
  for (int w = 1; w < kWarps; ++w) sum += parts[w];
  return sum;
}

}  // namespace sluice
