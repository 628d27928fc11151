// What the kernels of few and of some tokens share: how a group adds to a sum, and how a block's
// sums become outputs. So their results are the same to the bit.
//
// A block of threads computes one panel's sixteen rows. Its 32-column groups are dealt out to
// sixteen slices; the slices' sums are added in their order.
#pragma once

#include "layers/cuda/kernels.h"
#include "layers/cuda/weights.cuh"

namespace sluice {

inline constexpr int kSlices = 16;
inline constexpr int kFewThreads = kSlices * static_cast<int>(kPanelRows);

// A group of activations without its values.
struct GroupScales {
  float scale;
  int minus_sums[2];  // of all columns, or of the first and last 16
};
template <BlockLayout kLayout>
__device__ __forceinline__ GroupScales group_scales(const int4& bits) {
  return {__int_as_float(bits.x), {kLayout.halves ? bits.y : bits.w, bits.z}};
}

// The first sixteen bytes of a group are its first, its last its scales.
template <typename Group>
inline constexpr int kScalesAt = sizeof(Group) / sizeof(int4) - 1;
template <typename Group>
inline constexpr bool kTwoPlanes = sizeof(Group) == sizeof(Int16Group);

// A product of two groups in integers, from that of each plane, the offset's share included.
template <typename Group>
__device__ __forceinline__ float dot_to_float(int high, int low) {
  if constexpr (kTwoPlanes<Group>) return __int2float_rn(low + high * 128);
  return small_to_float(high);
}

// sum + what a group of weights and one of activations give, by the products of their integers.
template <DType kType>
__device__ __forceinline__ float add_group(const RowScales& w, const GroupScales& in,
                                           const float (&dots)[2], float sum) {
  constexpr BlockLayout kLayout = block_layout(kType);
  float here = w.scale[0] * dots[0];
  if constexpr (kLayout.halves) here = fmaf(w.scale[1], dots[1], here);
  if constexpr (kLayout.mins) {
#pragma unroll
    for (int h = 0; h < (kLayout.halves ? 2 : 1); ++h) {
      here = fmaf(w.minus_min[h], __int2float_rn(in.minus_sums[h]), here);
    }
  }
  return fmaf(here, in.scale, sum);
}

// Which product a block of threads works on, and which of its panels.
struct PanelOf {
  const FewTokensProduct& product;
  std::size_t panel;

  static __device__ PanelOf block(const FewTokensBatch& batch) {
    unsigned index = 0;
    while (index + 1 < batch.count && blockIdx.x >= batch.first_panel[index + 1]) ++index;
    return {batch.products[index], blockIdx.x - batch.first_panel[index]};
  }
};

// The slices' sums in their order, by the first kTokens x 16 threads.
template <int kTokens>
__device__ __forceinline__ void add_slices(const PanelOf& of, unsigned tokens,
                                           const float (&parts)[kSlices][kTokens][kPanelRows]) {
  const unsigned token = threadIdx.x / kPanelRows;
  const unsigned row = threadIdx.x % kPanelRows;
  const std::size_t out_row = of.panel * kPanelRows + row;
  if (token >= kTokens || token >= tokens || out_row >= of.product.rows) return;
  float sum = parts[0][token][row];
#pragma unroll
  for (int s = 1; s < kSlices; ++s) sum += parts[s][token][row];
  float* out = of.product.out + token * of.product.out_stride + out_row;
  *out = of.product.accumulate ? *out + sum : sum;
}

}  // namespace sluice
