// Products of packed weights with 1 to 16 tokens: bound by reading the weights. Of one or two the
// integers are multiplied four at a time, of more on the tensor cores.
//
// A block of threads computes one panel's sixteen rows. Its 32-column groups are dealt out to
// sixteen slices of sixteen threads, one a row; the slices' sums are added in their order. A
// token's sum is the same however many there are.
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

template <DType kType, typename Group>
__device__ __forceinline__ float add_row(const RowGroup& w, const Group* group, float sum) {
  constexpr BlockLayout kLayout = block_layout(kType);
  constexpr int kParts = kLayout.halves ? 2 : 1;
  const int4* in = reinterpret_cast<const int4*>(group);
  const int4 high[2] = {__ldg(in), __ldg(in + 1)};
  int4 low[2] = {};
  if constexpr (kTwoPlanes<Group>) {
    low[0] = __ldg(in + 2);
    low[1] = __ldg(in + 3);
  }
  const GroupScales scales = group_scales<kLayout>(__ldg(in + kScalesAt<Group>));
  float dots[2] = {};
#pragma unroll
  for (int h = 0; h < kParts; ++h) {
    int lows = kQuadOffset<kType> * scales.minus_sums[h];
    int highs = kTwoPlanes<Group> ? 0 : lows;
#pragma unroll
    for (int j = h * 4; j < (h + 1) * 8 / kParts; ++j) {
      const auto word = [&](const int4(&quads)[2]) {
        const int4& four = quads[j / 4];
        return j % 4 == 0 ? four.x : j % 4 == 1 ? four.y : j % 4 == 2 ? four.z : four.w;
      };
      highs = __dp4a(static_cast<int>(w.quads[j]), word(high), highs);
      if constexpr (kTwoPlanes<Group>) {
        lows = __dp4a(static_cast<int>(w.quads[j]), word(low), lows);
      }
    }
    dots[h] = dot_to_float<Group>(highs, lows);
  }
  return add_group<kType>(w, scales, dots, sum);
}

// Products with quantised weights; the form follows from Group.
template <DType kType, typename Group>
struct QuantisedSlice {
  static constexpr std::size_t kColumns = kPlaneColumns;
  RowGroup weights;

  __device__ __forceinline__ void load(const std::byte* panel, int g, int row, std::size_t) {
    constexpr BlockLayout kLayout = block_layout(kType);
    constexpr int kGroups = static_cast<int>(kLayout.groups);
    load_group<kType>(panel + g / kGroups * kLayout.block_bytes(), g % kGroups, row, weights);
  }
  __device__ __forceinline__ float add(const std::byte* in, int g, float sum, std::size_t) const {
    return add_row<kType>(weights, reinterpret_cast<const Group*>(in) + g, sum);
  }
};

// Products with float weights: 8 columns, in their order. Columns that there aren't are zeros.
template <DType kType, ActivationForm kForm>
struct FloatSlice {
  static constexpr int kCount = 8;
  static constexpr std::size_t kColumns = kCount;
  float weights[kCount];

  // Column c of the row that begins at `at`; of BF16, c is even and c + 1 lies beside it.
  static __device__ __forceinline__ float2 load_pair(const std::byte* at, int c, bool both) {
    if constexpr (kType == DType::kBF16) {
      const unsigned pair = load_word(at + c / 2 * kPanelRows * sizeof(unsigned));
      return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u)};
    } else if constexpr (kType == DType::kF16) {
      const auto* halves = reinterpret_cast<const __half*>(at) + c * kPanelRows;
      return {__half2float(__ldcs(halves)), both ? __half2float(__ldcs(halves + kPanelRows)) : 0};
    } else {
      const auto* floats = reinterpret_cast<const float*>(at) + c * kPanelRows;
      return {__ldcs(floats), both ? __ldcs(floats + kPanelRows) : 0};
    }
  }

  __device__ __forceinline__ void load(const std::byte* panel, int g, int row,
                                       std::size_t columns) {
    constexpr std::size_t kBytes = kType == DType::kF32 ? 4 : 2;
    constexpr int kTogether = kType == DType::kBF16 ? 2 : 1;
    const int first = g * kCount;
    const int left = static_cast<int>(columns) - first;
    const std::byte* at = panel + (first * kPanelRows + row * kTogether) * kBytes;
#pragma unroll
    for (int c = 0; c < kCount; c += 2) {
      float2 pair{};
      if (left >= kCount) {
        pair = load_pair(at, c, true);
      } else if (c < left) {
        pair = load_pair(at, c, c + 1 < left);
      }
      weights[c] = pair.x;
      weights[c + 1] = pair.y;
    }
  }

  __device__ __forceinline__ float add(const std::byte* in, int g, float sum,
                                       std::size_t columns) const {
    constexpr bool kBf16 = kForm == ActivationForm::kBf16;
    const int left = static_cast<int>(columns) - g * kCount;
    const std::byte* at = in + g * kCount * (kBf16 ? 2 : 4);
    float values[kCount];
    if (left >= kCount) {
      load_values(at, values);
    } else {
#pragma unroll
      for (int c = 0; c < kCount; ++c) values[c] = c < left ? load_value(at, c) : 0.0f;
    }
#pragma unroll
    for (int c = 0; c < kCount; ++c) sum = fmaf(weights[c], values[c], sum);
    return sum;
  }

  static __device__ __forceinline__ float load_value(const std::byte* at, int c) {
    if constexpr (kForm == ActivationForm::kF32) {
      return __ldg(reinterpret_cast<const float*>(at) + c);
    } else {
      const unsigned bits = __ldg(reinterpret_cast<const unsigned short*>(at) + c);
      return __uint_as_float(bits << 16);
    }
  }
  static __device__ __forceinline__ void load_values(const std::byte* at, float (&to)[kCount]) {
    if constexpr (kForm == ActivationForm::kF32) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float4 four = __ldg(reinterpret_cast<const float4*>(at) + i);
        to[4 * i] = four.x;
        to[4 * i + 1] = four.y;
        to[4 * i + 2] = four.z;
        to[4 * i + 3] = four.w;
      }
    } else {
      const uint4 eight = __ldg(reinterpret_cast<const uint4*>(at));
      const unsigned pairs[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        to[2 * i] = __uint_as_float(pairs[i] << 16);
        to[2 * i + 1] = __uint_as_float(pairs[i] & 0xffff0000u);
      }
    }
  }
};

// Blocks of threads that a processor should hold at once, so that enough loads are under way.
template <int kTokens>
inline constexpr int kResidentBlocks = kTokens <= 2   ? 3
                                       : kTokens <= 4 ? 2
                                                      : 1;

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

template <typename Slice, int kTokens>
__global__ void __launch_bounds__(kFewThreads, kResidentBlocks<kTokens>)
    few_tokens(FewTokensBatch batch) {
  const PanelOf of = PanelOf::block(batch);
  const FewTokensProduct& product = of.product;
  const int row = static_cast<int>(threadIdx.x % kPanelRows);
  const int slice = static_cast<int>(threadIdx.x / kPanelRows);
  const std::byte* weights = product.panels + of.panel * product.panel_bytes;
  // The last one's again where there are fewer.
  const auto in_of = [&](unsigned t) {
    return product.in + (t < batch.tokens ? t : batch.tokens - 1) * product.in_bytes;
  };
  float sums[kTokens] = {};
  const int groups = static_cast<int>((product.columns + Slice::kColumns - 1) / Slice::kColumns);
  [[maybe_unused]] constexpr int kTogether = kTokens <= 2 ? 2 : 1;  // more would not fit registers
#pragma unroll kTogether
  for (int g = slice; g < groups; g += kSlices) {
    Slice here;
    here.load(weights, g, row, product.columns);
#pragma unroll
    for (int t = 0; t < kTokens; ++t) sums[t] = here.add(in_of(t), g, sums[t], product.columns);
  }
  SLUICE_SHARED(float, parts, [kSlices][kTokens][kPanelRows]);
#pragma unroll
  for (int t = 0; t < kTokens; ++t) parts[slice][t][row] = sums[t];
  __syncthreads();
  static_assert(kTokens <= kSlices);
  add_slices<kTokens>(of, batch.tokens, parts);
}

// ---- On the tensor cores: a group of a panel, 16 rows by 32 columns, is a warp's first factor as
// it lies, and eight tokens are the second. Each warp has two of the slices, and every group's
// arithmetic is that of few_tokens, to the bit.

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

// The batch's tokens from `first` on.
inline FewTokensBatch tokens_from(FewTokensBatch batch, unsigned first) {
  for (unsigned i = 0; i < batch.count; ++i) {
    batch.products[i].in += first * batch.products[i].in_bytes;
    batch.products[i].out += first * batch.products[i].out_stride;
  }
  batch.tokens -= first;
  return batch;
}

template <DType kType, typename Group, int kEights>
void launch_some_tokens(cudaStream_t stream, const FewTokensBatch& batch,
                        std::span<const Touch> touches) {
  launch("product of some tokens", stream,
         {dim3(batch.first_panel[batch.count]), dim3(kFewThreads)}, touches,
         some_tokens<kType, Group, kEights>, batch);
}

// Takes the fewest of kTokens..., in ascending order, that are enough; else the most, repeatedly.
template <typename Slice, int kTokens, int... kMore>
void launch_few_tokens(const char* name, cudaStream_t stream, const FewTokensBatch& batch,
                       std::span<const Touch> touches) {
  if constexpr (sizeof...(kMore) > 0) {
    if (batch.tokens > kTokens) {
      return launch_few_tokens<Slice, kMore...>(name, stream, batch, touches);
    }
  }
  for (unsigned first = 0; first < batch.tokens; first += kTokens) {
    launch(name, stream, {dim3(batch.first_panel[batch.count]), dim3(kFewThreads)}, touches,
           few_tokens<Slice, kTokens>, tokens_from(batch, first));
  }
}

}  // namespace sluice
