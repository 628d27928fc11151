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

// How many products of two bytes and their neighbours' fit 16 bits when they are added up: a power
// of two.
constexpr int products_in_halves(BlockLayout layout) {
  if (layout.bytes) return 1;
  const int largest = (1 << (layout.bits_shift() + (layout.bits ? 1 : 0))) - 1;
  const int most = 32767 / (2 * 127 * largest);
  return most >= 8 ? 8 : most >= 4 ? 4 : most >= 2 ? 2 : 1;
}

// One plane of activations, where bytes are multiplied into pairs of 16 bits: those are added up as
// long as they fit, then widened.
template <BlockLayout kLayout, int kFirst, int kCount, int kPanels, int kTokens, typename Isa>
SLUICE_INLINE void add_plane(const Weights<Isa> (&weights)[kPanels],
                             const std::int8_t* const (&in)[kTokens],
                             Integers<Isa> (&total)[kTokens][kPanels]) {
  constexpr int kMost = products_in_halves(kLayout);
  constexpr int kStep = kMost < kCount ? kMost : kCount;
  static_assert(kCount % kStep == 0);
#pragma GCC unroll 8
  for (int step = kFirst; step < kFirst + kCount; step += kStep) {
    Integers<Isa> halves[kTokens][kPanels];
#pragma GCC unroll 8
    for (int j = step; j < step + kStep; ++j) {
      for (int t = 0; t < kTokens; ++t) {
        const auto activations = Isa::broadcast(word(in[t], j));
        for (int p = 0; p < kPanels; ++p) {
          const auto products = multiply_pairs<kLayout.bytes>(weights[p].quads[j], activations);
          halves[t][p] = j == step ? products : add_halves(halves[t][p], products);
        }
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      for (int p = 0; p < kPanels; ++p) total[t][p] = add(total[t][p], widen_pairs(halves[t][p]));
    }
  }
}

// dot, where bytes have no dot product.
template <BlockLayout kLayout, int kFirst, int kCount, typename Group, int kPanels, int kTokens,
          typename Isa>
SLUICE_INLINE void dot_in_halves(const Weights<Isa> (&weights)[kPanels],
                                 const Group* const (&in)[kTokens],
                                 const Integers<Isa> (&from)[kTokens],
                                 Integers<Isa> (&total)[kTokens][kPanels]) {
  const std::int8_t* plane[kTokens];
  for (int t = 0; t < kTokens; ++t) {
    plane[t] = in[t]->high;
    for (int p = 0; p < kPanels; ++p) {
      total[t][p] = kPlanes<Group> == 2 ? broadcast<Isa>(0) : from[t];
    }
  }
  add_plane<kLayout, kFirst, kCount>(weights, plane, total);
  if constexpr (kPlanes<Group> == 2) {
    for (int t = 0; t < kTokens; ++t) {
      plane[t] = in[t]->low;
      for (int p = 0; p < kPanels; ++p) total[t][p] = add(from[t], shift<7>(total[t][p]));
    }
    add_plane<kLayout, kFirst, kCount>(weights, plane, total);
  }
}

// Adds to sums[t][p] what this group adds to the outputs of panel p's rows for token t.
template <BlockLayout kLayout, typename Group, int kPanels, int kTokens, typename Isa>
SLUICE_INLINE void add_group(const Weights<Isa> (&weights)[kPanels],
                             const Group* const (&in)[kTokens],
                             Floats<Isa> (&sums)[kTokens][kPanels]) {
  constexpr int kParts = kLayout.halves ? 2 : 1;
  constexpr int kOffsetLog2 = weights_offset_log2<Isa, kLayout>;
  Integers<Isa> minus_sums[2][kTokens];
  Integers<Isa> from[2][kTokens];  // - offset * sum, since weights mean q - offset
  for (int h = 0; h < kParts; ++h) {
    for (int t = 0; t < kTokens; ++t) {
      minus_sums[h][t] =
          broadcast<Isa>(kLayout.halves ? in[t]->minus_half_sums[h] : in[t]->minus_sum);
      if constexpr (kOffsetLog2 >= 0) {
        from[h][t] = shift<kOffsetLog2>(minus_sums[h][t]);
      } else {
        from[h][t] = broadcast<Isa>(0);
      }
    }
  }
  Integers<Isa> total[2][kTokens][kPanels];
  if constexpr (Isa::kByteDot) {
    dot<0, 8 / kParts>(weights, in, from[0], total[0]);
    if constexpr (kLayout.halves) dot<4, 4>(weights, in, from[1], total[1]);
  } else {
    dot_in_halves<kLayout, 0, 8 / kParts>(weights, in, from[0], total[0]);
    if constexpr (kLayout.halves) dot_in_halves<kLayout, 4, 4>(weights, in, from[1], total[1]);
  }
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

}  // namespace sluice
