// Products of packed weights with 1 to 16 tokens: bound by reading the weights.
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

// sum + what a group of weights and one of activations give.
template <DType kType, typename Group>
__device__ __forceinline__ float add_group(const RowGroup& w, const Group* group, float sum) {
  constexpr BlockLayout kLayout = block_layout(kType);
  constexpr bool kWide = sizeof(Group) == sizeof(Int16Group);
  constexpr int kParts = kLayout.halves ? 2 : 1;
  const int4* in = reinterpret_cast<const int4*>(group);
  const int4 high[2] = {__ldg(in), __ldg(in + 1)};
  int4 low[2] = {};
  if constexpr (kWide) {
    low[0] = __ldg(in + 2);
    low[1] = __ldg(in + 3);
  }
  const int4 rest = __ldg(in + (kWide ? 4 : 2));  // scale, minus_half_sums, minus_sum
  const int minus_sums[2] = {kLayout.halves ? rest.y : rest.w, rest.z};
  const float scale = __int_as_float(rest.x);
  float here = 0.0f;
#pragma unroll
  for (int h = 0; h < kParts; ++h) {
    int total = kQuadOffset<kType> * minus_sums[h];
    int highs = kWide ? 0 : total;
#pragma unroll
    for (int j = h * 4; j < (h + 1) * 8 / kParts; ++j) {
      const auto word = [&](const int4(&quads)[2]) {
        const int4& four = quads[j / 4];
        return j % 4 == 0 ? four.x : j % 4 == 1 ? four.y : j % 4 == 2 ? four.z : four.w;
      };
      highs = __dp4a(static_cast<int>(w.quads[j]), word(high), highs);
      if constexpr (kWide) total = __dp4a(static_cast<int>(w.quads[j]), word(low), total);
    }
    const float dot = kWide ? __int2float_rn(total + highs * 128) : small_to_float(highs);
    here = h == 0 ? w.scale[0] * dot : fmaf(w.scale[1], dot, here);
  }
  if constexpr (kLayout.mins) {
#pragma unroll
    for (int h = 0; h < kParts; ++h)
      here = fmaf(w.minus_min[h], __int2float_rn(minus_sums[h]), here);
  }
  return fmaf(here, scale, sum);
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
    return add_group<kType>(weights, reinterpret_cast<const Group*>(in) + g, sum);
  }
};

// Products with float weights: 8 columns, in their order. Columns that there aren't are zeros.
template <DType kType, ActivationForm kForm>
struct FloatSlice {
  static constexpr int kCount = 8;
  static constexpr std::size_t kColumns = kCount;
  float weights[kCount];

  // Columns c and c + 1 of the row; of BF16 they lie together.
  static __device__ __forceinline__ float2 load_pair(const std::byte* panel, std::size_t c, int row,
                                                     std::size_t columns) {
    if constexpr (kType == DType::kBF16) {
      const unsigned pair = load_word(panel + (c / 2 * kPanelRows + row) * sizeof(unsigned));
      return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u)};
    } else {
      const auto one = [&](std::size_t column) {
        const std::size_t at = column * kPanelRows + row;
        if constexpr (kType == DType::kF32) {
          return __ldcs(reinterpret_cast<const float*>(panel) + at);
        } else {
          return __half2float(__ldcs(reinterpret_cast<const __half*>(panel) + at));
        }
      };
      return {one(c), c + 1 < columns ? one(c + 1) : 0.0f};
    }
  }

  __device__ __forceinline__ void load(const std::byte* panel, int g, int row,
                                       std::size_t columns) {
    const std::size_t first = static_cast<std::size_t>(g) * kCount;
#pragma unroll
    for (int c = 0; c < kCount; c += 2) {
      float2 pair{};
      if (first + c < columns) pair = load_pair(panel, first + c, row, columns);
      weights[c] = pair.x;
      weights[c + 1] = pair.y;
    }
  }

  __device__ __forceinline__ float add(const std::byte* in, int g, float sum,
                                       std::size_t columns) const {
    const std::size_t first = static_cast<std::size_t>(g) * kCount;
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      if (first + c >= columns) continue;
      if constexpr (kForm == ActivationForm::kF32) {
        sum = fmaf(weights[c], __ldg(reinterpret_cast<const float*>(in) + first + c), sum);
      } else {
        const unsigned bits = __ldg(reinterpret_cast<const unsigned short*>(in) + first + c);
        sum = fmaf(weights[c], __uint_as_float(bits << 16), sum);
      }
    }
    return sum;
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
  unsigned index = 0;
  while (index + 1 < batch.count && blockIdx.x >= batch.first_panel[index + 1]) ++index;
  const FewTokensProduct& product = batch.products[index];
  const std::size_t panel = blockIdx.x - batch.first_panel[index];
  const int row = static_cast<int>(threadIdx.x % kPanelRows);
  const int slice = static_cast<int>(threadIdx.x / kPanelRows);
  const std::byte* weights = product.panels + panel * product.panel_bytes;
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
  // There are as many slices as tokens at most: each adds up one.
  static_assert(kTokens <= kSlices);
  const unsigned token = threadIdx.x / kPanelRows;
  const std::size_t out_row = panel * kPanelRows + row;
  if (token >= kTokens || token >= batch.tokens || out_row >= product.rows) return;
  float sum = parts[0][token][row];
#pragma unroll
  for (int s = 1; s < kSlices; ++s) sum += parts[s][token][row];
  float* out = product.out + token * product.out_stride + out_row;
  *out = product.accumulate ? *out + sum : sum;
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
