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
__device__ __forceinline__ T larger(T a, T b) {
  return a < b ? b : a;
}

template <typename T>
__device__ __forceinline__ T warp_max(T value) {
  for (int other = kWarpThreads / 2; other > 0; other /= 2) {
    value = larger(value, __shfl_xor_sync(kWholeWarp, value, other));
  }
  return value;
}

// Each warp's `value`, which its lanes agree on, combined in the order of warps: to all threads of
// a block of kWarps warps.
template <int kWarps, typename T, typename Combine>
__device__ __forceinline__ T across_warps(T value, const Combine& combine) {
  SLUICE_SHARED(T, parts, [kWarps]);
  if (threadIdx.x % kWarpThreads == 0) parts[threadIdx.x / kWarpThreads] = value;
  __syncthreads();
  T result = parts[0];
  for (int w = 1; w < kWarps; ++w) result = combine(result, parts[w]);
  return result;
}

// Of all threads of a block of kWarps warps, to all of them.
template <int kWarps, typename T>
__device__ __forceinline__ T block_sum(T value) {
  return across_warps<kWarps>(warp_sum(value), [](T a, T b) { return a + b; });
}
template <int kWarps, typename T>
__device__ __forceinline__ T block_max(T value) {
  return across_warps<kWarps>(warp_max(value), [](T a, T b) { return larger(a, b); });
}

}  // namespace sluice
