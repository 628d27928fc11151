// One group of weights meets one group of activations.
//
// The only place where quantised products are added up: a token's arithmetic is this, operation
// for operation, whether it is alone or one of many.
#pragma once

#include <cstring>

#include "layers/activations.h"
#include "layers/products_weights.h"

namespace sluice {

// Bytes that an activation takes.
template <typename Group>
inline constexpr int kPlanes = sizeof(Group) == sizeof(Int16Group) ? 2 : 1;

// The activations of a group as pairs of 16 bits, for machines without a dot product of bytes.
struct ActivationPairs {
  alignas(32) std::int16_t even[16];
  alignas(32) std::int16_t odd[16];
};

SLUICE_INLINE std::int16_t activation(const Int8Group& in, int i) {
  return in.high[i];
}
SLUICE_INLINE std::int16_t activation(const Int16Group& in, int i) {
  return static_cast<std::int16_t>(in.high[i] * 128 + in.low[i]);
}

template <typename Group>
SLUICE_INLINE ActivationPairs to_pairs(const Group& in) {
  ActivationPairs pairs;
  for (int i = 0; i < 16; ++i) {
    pairs.even[i] = activation(in, 2 * i);
    pairs.odd[i] = activation(in, 2 * i + 1);
  }
  return pairs;
}

SLUICE_INLINE std::int32_t word(const void* p, int index) {
  std::int32_t value;
  std::memcpy(&value, static_cast<const std::byte*>(p) + 4 * index, 4);
  return value;
}

// total[t][p]: of panel p and token t, from[t] and the sums of q * activation over quad planes
// [kFirst, kFirst + kCount), exact.
template <int kFirst, int kCount, typename Group, int kPanels, int kTokens, typename Isa>
SLUICE_INLINE void dot(const Weights<Isa> (&weights)[kPanels], const Group* const (&in)[kTokens],
                       const Integers<Isa> (&from)[kTokens],
                       Integers<Isa> (&total)[kTokens][kPanels]) {
  constexpr int kChains = kPanels * kTokens == 1 ? 2 : 1;  // of additions that need not wait
  Integers<Isa> low[kTokens][kPanels][kChains];
  Integers<Isa> high[kTokens][kPanels][kChains];
  for (int t = 0; t < kTokens; ++t) {
    for (int p = 0; p < kPanels; ++p) {
      for (int c = 0; c < kChains; ++c) {
        low[t][p][c] = c == 0 ? from[t] : broadcast<Isa>(0);
        high[t][p][c] = broadcast<Isa>(0);
      }
    }
  }
#pragma GCC unroll 8
  for (int j = kFirst; j < kFirst + kCount; ++j) {
    for (int t = 0; t < kTokens; ++t) {
      if constexpr (kPlanes<Group> == 2) {
        const auto activations = Isa::broadcast(word(in[t]->low, j));
        for (int p = 0; p < kPanels; ++p) {
          add_dot(weights[p].quads[j], activations, low[t][p][j % kChains]);
        }
      }
      const auto activations = Isa::broadcast(word(in[t]->high, j));
      for (int p = 0; p < kPanels; ++p) {
        add_dot(weights[p].quads[j], activations,
                kPlanes<Group> == 2 ? high[t][p][j % kChains] : low[t][p][j % kChains]);
      }
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    for (int p = 0; p < kPanels; ++p) {
      if constexpr (kChains == 2) {
        low[t][p][0] = add(low[t][p][0], low[t][p][1]);
        high[t][p][0] = add(high[t][p][0], high[t][p][1]);
      }
      total[t][p] = low[t][p][0];
      // q = 128 * high + low
      if constexpr (kPlanes<Group> == 2) total[t][p] = add(total[t][p], shift<7>(high[t][p][0]));
    }
  }
}

// The same where only pairs of 16 bits have a dot product.
template <int kFirst, int kCount, int kPanels, int kTokens, typename Isa>
SLUICE_INLINE void dot(const Weights<Isa> (&weights)[kPanels],
                       const ActivationPairs* const (&in)[kTokens],
                       const Integers<Isa> (&from)[kTokens],
                       Integers<Isa> (&total)[kTokens][kPanels]) {
  for (int t = 0; t < kTokens; ++t) {
    for (int p = 0; p < kPanels; ++p) total[t][p] = from[t];
  }
#pragma GCC unroll 8
  for (int j = kFirst; j < kFirst + kCount; ++j) {
    for (int t = 0; t < kTokens; ++t) {
      const auto even = Isa::broadcast(word(in[t]->even, j));
      const auto odd = Isa::broadcast(word(in[t]->odd, j));
      for (int p = 0; p < kPanels; ++p) {
        add_dot(weights[p].even[j], even, total[t][p]);
        add_dot(weights[p].odd[j], odd, total[t][p]);
      }
    }
  }
}

template <BlockLayout kLayout, typename Values, typename Group, int kPanels, int kTokens,
          typename Isa>
SLUICE_INLINE void add_group_of(const Weights<Isa> (&weights)[kPanels],
                                const Group* const (&in)[kTokens],
                                const Values* const (&values)[kTokens],
                                Floats<Isa> (&sums)[kTokens][kPanels]) {
  constexpr int kParts = kLayout.halves ? 2 : 1;
  Integers<Isa> minus_sums[2][kTokens];
  Integers<Isa> from[2][kTokens];  // - offset * sum, since weights mean q - offset
  for (int h = 0; h < kParts; ++h) {
    for (int t = 0; t < kTokens; ++t) {
      minus_sums[h][t] =
          broadcast<Isa>(kLayout.halves ? in[t]->minus_half_sums[h] : in[t]->minus_sum);
      if constexpr (kLayout.offset_log2 >= 0) {
        from[h][t] = shift<kLayout.offset_log2>(minus_sums[h][t]);
      } else {
        from[h][t] = broadcast<Isa>(0);
      }
    }
  }
  Integers<Isa> total[2][kTokens][kPanels];
  dot<0, 8 / kParts>(weights, values, from[0], total[0]);
  if constexpr (kLayout.halves) dot<4, 4>(weights, values, from[1], total[1]);
  for (int t = 0; t < kTokens; ++t) {
    for (int p = 0; p < kPanels; ++p) {
      Floats<Isa> sum = multiply(weights[p].scale[0], to_float(total[0][t][p]));
      if constexpr (kLayout.halves) {
        sum = multiply_add(weights[p].scale[1], to_float(total[1][t][p]), sum);
      }
      for (int h = 0; h < kParts && kLayout.mins; ++h) {
        sum = multiply_add(weights[p].minus_min[h], to_float(minus_sums[h][t]), sum);
      }
      sums[t][p] = multiply_add(sum, broadcast<Isa>(in[t]->scale), sums[t][p]);
    }
  }
}

// Adds to sums[t][p] what this group adds to the outputs of panel p's rows for token t.
template <BlockLayout kLayout, typename Group, int kPanels, int kTokens, typename Isa>
SLUICE_INLINE void add_group(const Weights<Isa> (&weights)[kPanels],
                             const Group* const (&in)[kTokens],
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
