// Products of panels with few tokens: bound by reading the weights. A slice is sixteen threads, one
// a row; integers are multiplied four at a time, floats one by one.
#pragma once

#include "layers/cuda/panel_products.cuh"

namespace sluice {

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

// The batch's tokens from `first` on.
inline FewTokensBatch tokens_from(FewTokensBatch batch, unsigned first) {
  for (unsigned i = 0; i < batch.count; ++i) {
    batch.products[i].in += first * batch.products[i].in_bytes;
    batch.products[i].out += first * batch.products[i].out_stride;
  }
  batch.tokens -= first;
  return batch;
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
