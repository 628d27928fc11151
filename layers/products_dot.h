// One group of weights meets one group of activations.
//
// The only place where quantised products are added up: a token's arithmetic is this, operation
// for operation, whether it is alone or one of many.
#pragma once

#include <cstring>

#include "layers/products.h"
#include "layers/products_weights.h"

namespace sluice {

// The activations of a group as pairs of 16 bits, for machines without a dot product of bytes.
struct ActivationPairs {
  alignas(32) std::int16_t even[16];
  alignas(32) std::int16_t odd[16];
};

SLUICE_INLINE ActivationPairs to_pairs(const ActivationGroup& in) {
  ActivationPairs pairs;
  for (int i = 0; i < 16; ++i) {
    pairs.even[i] = static_cast<std::int16_t>(in.high[2 * i] * 128 + in.low[2 * i]);
    pairs.odd[i] = static_cast<std::int16_t>(in.high[2 * i + 1] * 128 + in.low[2 * i + 1]);
  }
  return pairs;
}

SLUICE_INLINE std::int32_t word(const void* p, int index) {
  std::int32_t value;
  std::memcpy(&value, static_cast<const std::byte*>(p) + 4 * index, 4);
  return value;
}

// total[t][p]: of panel p and token t, the sums of q * activation over quad planes
// [kFirst, kFirst + kCount), exact.
template <int kFirst, int kCount, int kPanels, int kTokens, typename Isa, typename Activations>
SLUICE_INLINE void dot(const Weights<Isa> (&weights)[kPanels],
                       const Activations* const (&in)[kTokens],
                       Integers<Isa> (&total)[kTokens][kPanels]) {
  constexpr int kChains = kPanels * kTokens == 1 ? 2 : 1;  // of additions that need not wait
  Integers<Isa> first[kTokens][kPanels][kChains];
  Integers<Isa> second[kTokens][kPanels][kChains];
  for (int t = 0; t < kTokens; ++t) {
    for (int p = 0; p < kPanels; ++p) {
      for (int c = 0; c < kChains; ++c) first[t][p][c] = second[t][p][c] = broadcast<Isa>(0);
    }
  }
#pragma GCC unroll 8
  for (int j = kFirst; j < kFirst + kCount; ++j) {
    for (int t = 0; t < kTokens; ++t) {
      if constexpr (Isa::kByteDot) {
        const auto high = Isa::broadcast(word(in[t]->high, j));
        const auto low = Isa::broadcast(word(in[t]->low, j));
        for (int p = 0; p < kPanels; ++p) {
          add_dot(weights[p].quads[j], high, first[t][p][j % kChains]);
          add_dot(weights[p].quads[j], low, second[t][p][j % kChains]);
        }
      } else {
        const auto even = Isa::broadcast(word(in[t]->even, j));
        const auto odd = Isa::broadcast(word(in[t]->odd, j));
        for (int p = 0; p < kPanels; ++p) {
          add_dot(weights[p].even[j], even, first[t][p][j % kChains]);
          add_dot(weights[p].odd[j], odd, second[t][p][j % kChains]);
        }
      }
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    for (int p = 0; p < kPanels; ++p) {
      Integers<Isa> high = first[t][p][0];
      Integers<Isa> low = second[t][p][0];
      for (int c = 1; c < kChains; ++c) {
        high = add(high, first[t][p][c]);
        low = add(low, second[t][p][c]);
      }
      if constexpr (Isa::kByteDot) high = shift<7>(high);  // q = 128 * high + low
      total[t][p] = add(high, low);
    }
  }
}

template <BlockLayout kLayout, int kPanels, int kTokens, typename Isa, typename Activations>
SLUICE_INLINE void add_group_of(const Weights<Isa> (&weights)[kPanels],
                                const ActivationGroup* const (&in)[kTokens],
                                const Activations* const (&values)[kTokens],
                                Floats<Isa> (&sums)[kTokens][kPanels]) {
  constexpr int kParts = kLayout.halves ? 2 : 1;
  Integers<Isa> total[2][kTokens][kPanels];
  dot<0, 8 / kParts>(weights, values, total[0]);
  if constexpr (kLayout.halves) dot<4, 4>(weights, values, total[1]);
  for (int t = 0; t < kTokens; ++t) {
    const std::int32_t* in_sums = kLayout.halves ? in[t]->half_sums : &in[t]->sum;
    for (int p = 0; p < kPanels; ++p) {
      Floats<Isa> sum;
      for (int h = 0; h < kParts; ++h) {
        Integers<Isa> q = total[h][t][p];
        if constexpr (kLayout.offset_log2 >= 0) {
          q = subtract(q, shift<kLayout.offset_log2>(broadcast<Isa>(in_sums[h])));
        }
        sum = h == 0 ? multiply(weights[p].scale[h], to_float(q))
                     : multiply_add(weights[p].scale[h], to_float(q), sum);
      }
      for (int h = 0; h < kParts && kLayout.mins; ++h) {
        sum = multiply_add(weights[p].min[h], to_float(broadcast<Isa>(in_sums[h])), sum);
      }
      sums[t][p] = multiply_add(sum, broadcast<Isa>(in[t]->scale), sums[t][p]);
    }
  }
}

// Adds to sums[t][p] what this group adds to the outputs of panel p's rows for token t.
template <BlockLayout kLayout, int kPanels, int kTokens, typename Isa>
SLUICE_INLINE void add_group(const Weights<Isa> (&weights)[kPanels],
                             const ActivationGroup* const (&in)[kTokens],
                             Floats<Isa> (&sums)[kTokens][kPanels]) {
  if constexpr (Isa::kByteDot) {
    add_group_of<kLayout>(weights, in, in, sums);
  } else {
    ActivationPairs pairs[kTokens];
    const ActivationPairs* values[kTokens];
    for (int t = 0; t < kTokens; ++t) {
      pairs[t] = to_pairs(*in[t]);
      values[t] = &pairs[t];
    }
    add_group_of<kLayout>(weights, in, values, sums);
  }
}

}  // namespace sluice
