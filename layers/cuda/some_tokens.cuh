// Products of quantised panels with up to 16 tokens, on the tensor cores.
//
// A group of a panel, 16 rows by 32 columns, is a warp's first factor as it lies, and eight tokens
// are the second. Each warp has two of the slices, and every group's arithmetic is few_tokens', to
// the bit.
#pragma once

#include "layers/cuda/panel_products.cuh"

namespace sluice {

inline constexpr int kTensorWarps = 8;
static_assert(kTensorWarps * 32 == kFewThreads && kTensorWarps * 2 == kSlices);

// A lane's part of a group's weights: quads t and t + 4 of rows g and g + 8, as mma.h has them.
template <DType kType>
struct LaneWeights {
  unsigned a[4];
  RowScales scales[2];  // of rows g and g + 8

  __device__ __forceinline__ void load(const std::byte* panel, int group) {
    constexpr BlockLayout kLayout = block_layout(kType);
    constexpr int kGroups = static_cast<int>(kLayout.groups);
    const std::byte* block = panel + group / kGroups * kLayout.block_bytes();
    const int lane = static_cast<int>(threadIdx.x % 32);
    const int row = lane / 4;
    const int t = lane % 4;
    const std::byte* values = block + kLayout.group_at(group % kGroups);
    const uint2 low = load_quad_pair<kLayout>(values, row, t);
    const uint2 high = load_quad_pair<kLayout>(values, row + 8, t);
    a[0] = low.x;
    a[1] = high.x;
    a[2] = low.y;
    a[3] = high.y;
    // Two lanes with the same rows work out one's scales each, and exchange them.
    const bool upper = t % 2 == 1;
    RowScales mine{};
    load_scales<kType>(block, group % kGroups, row + (upper ? 8 : 0), mine);
    const auto share = [&](float own, float& of_low, float& of_high) {
      const float other = __shfl_xor_sync(0xffffffffu, own, 1);
      of_low = upper ? other : own;
      of_high = upper ? own : other;
    };
#pragma unroll
    for (int h = 0; h < (kLayout.halves ? 2 : 1); ++h) {
      share(mine.scale[h], scales[0].scale[h], scales[1].scale[h]);
      if constexpr (kLayout.mins) {
        share(mine.minus_min[h], scales[0].minus_min[h], scales[1].minus_min[h]);
      }
    }
  }
};

// Where a lane's part of eight tokens' activations begins: the values of token g, and the scales of
// tokens 2 t and 2 t + 1. Tokens that there aren't are the last one again.
template <typename Group>
struct LaneTokens {
  const std::byte* values;
  const std::byte* scales[2];

  __device__ void set(const FewTokensProduct& product, unsigned first, unsigned tokens) {
    const auto begin = [&](unsigned at) {
      return product.in + (first + at < tokens ? first + at : tokens - 1) * product.in_bytes;
    };
    const unsigned lane = threadIdx.x % 32;
    values = begin(lane / 4) + lane % 4 * sizeof(unsigned);
    for (unsigned i = 0; i < 2; ++i) {
      scales[i] = begin(lane % 4 * 2 + i) + kScalesAt<Group> * sizeof(int4);
    }
  }
};

// Adds a group's products with eight tokens to sums, which lie as mma.h's d: rows g and g + 8, of
// tokens 2 t and 2 t + 1.
template <DType kType, typename Group>
__device__ __forceinline__ void add_tokens(const LaneWeights<kType>& w, int group,
                                           const LaneTokens<Group>& in, float (&sums)[4]) {
  constexpr BlockLayout kLayout = block_layout(kType);
  constexpr int kParts = kLayout.halves ? 2 : 1;
  const std::size_t at = group * sizeof(Group);
  // Quad t + 4 i of both planes, one behind the other.
  const auto quad = [&](int i) {
    return __ldg(reinterpret_cast<const unsigned*>(in.values + at) + 4 * i);
  };
  GroupScales scales[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    scales[i] = group_scales<kLayout>(__ldg(reinterpret_cast<const int4*>(in.scales[i] + at)));
  }
  float dots[4][2];
#pragma unroll
  for (int h = 0; h < kParts; ++h) {
    // Of half the columns, the other half's are zeros.
    const bool first = kParts == 1 || h == 0;
    const bool last = kParts == 1 || h == 1;
    const unsigned a[4] = {first ? w.a[0] : 0, first ? w.a[1] : 0, last ? w.a[2] : 0,
                           last ? w.a[3] : 0};
    int lows[4];
    int highs[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      lows[i] = kQuadOffset<kType> * scales[i % 2].minus_sums[h];
      highs[i] = kTwoPlanes<Group> ? 0 : lows[i];
    }
    mma_m16n8k32_s8(highs, a, {first ? quad(0) : 0, last ? quad(1) : 0});
    if constexpr (kTwoPlanes<Group>) {
      mma_m16n8k32_s8(lows, a, {first ? quad(2) : 0, last ? quad(3) : 0});
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) dots[i][h] = dot_to_float<Group>(highs[i], lows[i]);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    sums[i] = add_group<kType>(w.scales[i / 2], scales[i % 2], dots[i], sums[i]);
  }
}

template <DType kType, typename Group, int kEights>
__global__ void __launch_bounds__(kFewThreads, 2) some_tokens(FewTokensBatch batch) {
  constexpr int kTokens = 8 * kEights;
  const PanelOf of = PanelOf::block(batch);
  const FewTokensProduct& product = of.product;
  const std::byte* weights = product.panels + of.panel * product.panel_bytes;
  const int warp = static_cast<int>(threadIdx.x / 32);
  const auto groups = static_cast<int>(product.columns / kPlaneColumns);
  LaneTokens<Group> in[kEights];
  for (int e = 0; e < kEights; ++e) in[e].set(product, 8 * e, batch.tokens);
  float sums[2][kEights][4] = {};
#pragma unroll 1
  for (int first = warp; first < groups; first += kSlices) {
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      const int group = first + s * kTensorWarps;
      if (group >= groups) continue;  // whole warps
      LaneWeights<kType> w;
      w.load(weights, group);
#pragma unroll
      for (int e = 0; e < kEights; ++e) add_tokens(w, group, in[e], sums[s][e]);
    }
  }
  SLUICE_SHARED(float, parts, [kSlices][kTokens][kPanelRows]);
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int s = 0; s < 2; ++s) {
#pragma unroll
    for (int e = 0; e < kEights; ++e) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        parts[warp + s * kTensorWarps][8 * e + lane % 4 * 2 + i % 2][lane / 4 + i / 2 * 8] =
            sums[s][e][i];
      }
    }
  }
  __syncthreads();
  add_slices<kTokens>(of, batch.tokens, parts);
}

template <DType kType, typename Group, int kEights>
void launch_some_tokens(cudaStream_t stream, const FewTokensBatch& batch,
                        std::span<const Touch> touches) {
  launch("product of some tokens", stream,
         {dim3(batch.first_panel[batch.count]), dim3(kFewThreads)}, touches,
         some_tokens<kType, Group, kEights>, batch);
}

}  // namespace sluice
