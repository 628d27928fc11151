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
template <int kWarps, typename T>
__device__ __forceinline__ T block_sum(T value) {
  SLUICE_SHARED(T, parts, [kWarps]);
  value = warp_sum(value);
  if (threadIdx.x % kWarpThreads == 0) parts[threadIdx.x / kWarpThreads] = value;
  __syncthreads();
  T sum = parts[0];
  for (int w = 1; w < kWarps; ++w) sum += parts[w];
  return sum;
}
template <int kWarps, typename T>
__device__ __forceinline__ T block_max(T value) {
  SLUICE_SHARED(T, parts, [kWarps]);
  value = warp_max(value);
  if (threadIdx.x % kWarpThreads == 0) parts[threadIdx.x / kWarpThreads] = value;
  __syncthreads();
  T largest = parts[0];
  for (int w = 1; w < kWarps; ++w) largest = largest < parts[w] ? parts[w] : largest;
  return largest;
}

}  // namespace sluice
