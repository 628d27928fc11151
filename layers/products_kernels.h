// The product kernels: panels of a matrix and a block of tokens, on one thread.
//
// Written once over sixteen lanes (products_lanes.h): a lane is a row of the panel. A group of 32
// columns is unpacked once into registers and then meets every token of the call. Nothing here may
// call a function that another file could compile too; see products_lanes.h.
#pragma once

#include <cstring>

#include "layers/products_convert.h"
#include "layers/products_dot.h"
#include "layers/products_isa.h"
#include "layers/products_lanes.h"
#include "layers/products_weights.h"

namespace sluice {

template <typename Isa>
struct Kernels {
  static constexpr std::size_t kTokenBlock = 64;  // whose sums are kept while a panel is read

  // Adds or writes the rows that exist of a panel's sixteen sums.
  SLUICE_INLINE void write(const ProductArgs& args, std::size_t panel, std::size_t token,
                           Floats<Isa> sums) {
    const std::size_t row = panel * 16;
    float* out = args.out + token * args.out_stride + row;
    if (row + 16 <= args.rows) {
      store(out, args.accumulate ? add(load_floats<Isa>(out), sums) : sums);
      return;
    }
    float values[16];
    store(values, sums);
    for (std::size_t r = 0; row + r < args.rows; ++r) {
      out[r] = args.accumulate ? out[r] + values[r] : values[r];
    }
  }

  // Few tokens and one panel: a single stream from memory, the sums in registers.
  template <DType kType, typename Group, int kTokens>
  static void panel_once(const ProductArgs& args, std::size_t panel) {
    constexpr BlockLayout kLayout = block_layout(kType);
    const std::size_t row_bytes = activation_row_bytes(args.form, args.columns);
    const std::size_t blocks = args.columns / kLayout.columns();
    const std::byte* block = args.panels + panel * blocks * kLayout.block_bytes();
    const Group* in[kTokens];
    Floats<Isa> sums[kTokens][1];
    for (int t = 0; t < kTokens; ++t) {
      in[t] = reinterpret_cast<const Group*>(args.in + t * row_bytes);
      sums[t][0] = broadcast<Isa>(0.0f);
    }
    for (std::size_t b = 0; b < blocks; ++b, block += kLayout.block_bytes()) {
      for (int g = 0; g < static_cast<int>(kLayout.groups); ++g) {
        Weights<Isa> weights[1];
        prefetch_group<kLayout>(block + kLayout.group_at(g) + kPrefetchBytes);
        unpack<kType>(block, g, weights[0]);
        add_group<kLayout>(weights, in, sums);
        for (int t = 0; t < kTokens; ++t) ++in[t];
      }
    }
    for (int t = 0; t < kTokens; ++t) write(args, panel, t, sums[t][0]);
  }

  template <DType kType, typename Group, int kTokens>
  static void panels_once(const ProductArgs& args, std::size_t first, std::size_t last) {
    for (; first < last; ++first) panel_once<kType, Group, kTokens>(args, first);
  }

  // add_group with sums kept in memory.
  template <BlockLayout kLayout, int kTokens, typename Group, int kPanels>
  SLUICE_INLINE void add_to(const Weights<Isa> (&weights)[kPanels], const std::byte* in,
                            std::size_t row_bytes, float (*sums)[kPanels][16]) {
    const Group* here[kTokens];
    Floats<Isa> now[kTokens][kPanels];
    for (int t = 0; t < kTokens; ++t) {
      here[t] = reinterpret_cast<const Group*>(in + t * row_bytes);
      for (int p = 0; p < kPanels; ++p) now[t][p] = load_floats<Isa>(sums[t][p]);
    }
    add_group<kLayout>(weights, here, now);
    for (int t = 0; t < kTokens; ++t) {
      for (int p = 0; p < kPanels; ++p) store(sums[t][p], now[t][p]);
    }
  }

  // A block of tokens and kPanels panels: unpacked weights stay in registers, the sums in L1.
  template <DType kType, typename Group, int kPanels>
  static void matrix_panels(const ProductArgs& args, std::size_t panel, std::size_t first_token,
                            std::size_t tokens) {
    constexpr BlockLayout kLayout = block_layout(kType);
    const std::size_t row_bytes = activation_row_bytes(args.form, args.columns);
    const std::size_t blocks = args.columns / kLayout.columns();
    const std::size_t panel_bytes = blocks * kLayout.block_bytes();
    const std::byte* block = args.panels + panel * panel_bytes;
    const std::byte* in = args.in + first_token * row_bytes;
    alignas(64) float sums[kTokenBlock][kPanels][16];
    for (std::size_t t = 0; t < tokens; ++t) {
      for (int p = 0; p < kPanels; ++p) {
        store(sums[t][p], broadcast<Isa>(0.0f));
        __builtin_prefetch(args.out + (first_token + t) * args.out_stride + (panel + p) * 16, 1);
      }
    }
    for (std::size_t b = 0; b < blocks; ++b, block += kLayout.block_bytes()) {
      // Behind a panel's end come those of the next call.
      const bool inside = b * kLayout.block_bytes() + kPrefetchBytes < panel_bytes;
      const std::size_t ahead = kPrefetchBytes + (inside ? 0 : (kPanels - 1) * panel_bytes);
      for (int g = 0; g < static_cast<int>(kLayout.groups); ++g, in += sizeof(Group)) {
        Weights<Isa> weights[kPanels];
        for (int p = 0; p < kPanels; ++p) {
          const std::byte* here = block + p * panel_bytes;
          prefetch_group<kLayout>(here + ahead + kLayout.group_at(g));
          unpack<kType>(here, g, weights[p]);
        }
        std::size_t t = 0;
        for (; t + Isa::kTokens <= tokens; t += Isa::kTokens) {
          add_to<kLayout, Isa::kTokens, Group>(weights, in + t * row_bytes, row_bytes, sums + t);
        }
        for (; t < tokens; ++t) {
          add_to<kLayout, 1, Group>(weights, in + t * row_bytes, row_bytes, sums + t);
        }
      }
    }
    for (std::size_t t = 0; t < tokens; ++t) {
      for (int p = 0; p < kPanels; ++p) {
        write(args, panel + p, first_token + t, load_floats<Isa>(sums[t][p]));
      }
    }
  }

  // panels_once, of up to kTokens tokens. Whether there were that few.
  template <DType kType, typename Group, int kTokens>
  static bool few_panels(const ProductArgs& args, std::size_t first, std::size_t last) {
    if (args.tokens == kTokens) {
      panels_once<kType, Group, kTokens>(args, first, last);
      return true;
    }
    if constexpr (kTokens > 1) return few_panels<kType, Group, kTokens - 1>(args, first, last);
    return false;
  }

  template <DType kType, typename Group>
  static void group_panels(const ProductArgs& args, std::size_t first, std::size_t last) {
    if (few_panels<kType, Group, Isa::kFewTokens>(args, first, last)) return;
    for (std::size_t token = 0; token < args.tokens; token += kTokenBlock) {
      const std::size_t left = args.tokens - token;
      const std::size_t tokens = left < kTokenBlock ? left : kTokenBlock;
      std::size_t panel = first;
      for (; panel + Isa::kPanels <= last; panel += Isa::kPanels) {
        matrix_panels<kType, Group, Isa::kPanels>(args, panel, token, tokens);
      }
      for (; panel < last; ++panel) matrix_panels<kType, Group, 1>(args, panel, token, tokens);
    }
  }

  template <DType kType>
  static void quantised_panels(const ProductArgs& args, std::size_t first, std::size_t last) {
    if (args.form == ActivationForm::kInt8)
      return group_panels<kType, Int8Group>(args, first, last);
    group_panels<kType, Int16Group>(args, first, last);
  }

  // One column of a float panel, and the next too.
  template <DType kType>
  SLUICE_INLINE Floats<Isa> load_column(const std::byte* from) {
    return kType == DType::kF16 ? load_halves<Isa>(from) : load_floats<Isa>(from);
  }
  template <DType kType>
  SLUICE_INLINE void load_columns(const std::byte* from, Floats<Isa>& even, Floats<Isa>& odd) {
    if constexpr (kType == DType::kBF16) {
      const auto both = load<Isa>(from);
      even = as_float(shift<16>(both));
      odd = as_float(masked(both, 0xffff0000));
    } else {
      even = load_column<kType>(from);
      odd = load_column<kType>(from + (kType == DType::kF16 ? 32 : 64));
    }
  }

  // BF16 weights and activations. kPanels panels and kTokens tokens: the sums stay in registers.
  template <int kPanels, int kTokens>
  static void pair_tile(const ProductArgs& args, std::size_t panel, std::size_t token) {
    const std::size_t pairs = args.columns / 2;
    const std::byte* panels = args.panels + panel * pairs * 64;
    const std::size_t row_bytes = activation_row_bytes(ActivationForm::kBf16, args.columns);
    const std::byte* in = args.in + token * row_bytes;
    Floats<Isa> sums[kTokens][kPanels];
    unrolled<kTokens * kPanels>(
        [&](auto i) { sums[i / kPanels][i % kPanels] = broadcast<Isa>(0.0f); });
    for (std::size_t c = 0; c < pairs; ++c) {
      Integers<Isa> weights[kPanels];
      unrolled<kPanels>([&](auto p) {
        const std::byte* from = panels + (p * pairs + c) * 64;
        __builtin_prefetch(from + kPrefetchBytes);
        weights[p] = load<Isa>(from);
      });
      unrolled<kTokens>([&](auto t) {
        const auto activations = Isa::broadcast(word(in + t * row_bytes, static_cast<int>(c)));
        unrolled<kPanels>(
            [&](auto p) { sums[t][p] = add_pair_dot(weights[p], activations, sums[t][p]); });
      });
    }
    unrolled<kTokens * kPanels>([&](auto i) {
      write(args, panel + i % kPanels, token + i / kPanels, sums[i / kPanels][i % kPanels]);
    });
  }

  // The same with f32 activations.
  template <DType kType, int kPanels, int kTokens>
  static void float_tile(const ProductArgs& args, std::size_t panel, std::size_t token) {
    constexpr std::size_t kColumnBytes = kType == DType::kF32 ? 64 : 32;
    const std::size_t columns = args.columns;
    const std::size_t panel_bytes = columns * kColumnBytes;
    const std::byte* panels = args.panels + panel * panel_bytes;
    const std::size_t row_floats = activation_row_bytes(ActivationForm::kF32, columns) / 4;
    const float* in = reinterpret_cast<const float*>(args.in) + token * row_floats;
    Floats<Isa> sums[kTokens][kPanels];
    for (int t = 0; t < kTokens; ++t) {
      for (int p = 0; p < kPanels; ++p) sums[t][p] = broadcast<Isa>(0.0f);
    }
    const auto add_column = [&](const Floats<Isa>(&weights)[kPanels], std::size_t c) {
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t) {
        const Floats<Isa> activation = broadcast<Isa>(in[t * row_floats + c]);
        for (int p = 0; p < kPanels; ++p) {
          sums[t][p] = multiply_add(weights[p], activation, sums[t][p]);
        }
      }
    };
    std::size_t c = 0;
    for (; c + 2 <= columns; c += 2) {
      Floats<Isa> even[kPanels];
      Floats<Isa> odd[kPanels];
      for (int p = 0; p < kPanels; ++p) {
        const std::byte* from = panels + p * panel_bytes + c * kColumnBytes;
        for (std::size_t line = 0; line < 2 * kColumnBytes; line += 64) {
          __builtin_prefetch(from + kPrefetchBytes + line);
        }
        load_columns<kType>(from, even[p], odd[p]);
      }
      add_column(even, c);
      add_column(odd, c + 1);
    }
    if (c < columns) {  // an odd number of columns, which BF16 can't have
      Floats<Isa> last[kPanels];
      for (int p = 0; p < kPanels; ++p) {
        last[p] = load_column<kType>(panels + p * panel_bytes + c * kColumnBytes);
      }
      add_column(last, c);
    }
    for (int t = 0; t < kTokens; ++t) {
      for (int p = 0; p < kPanels; ++p) write(args, panel + p, token + t, sums[t][p]);
    }
  }

  template <DType kType, int kPanels, int kTokens>
  static void tile(const ProductArgs& args, std::size_t panel, std::size_t token) {
    if constexpr (kType == DType::kBF16) {
      if (args.form == ActivationForm::kBf16)
        return pair_tile<kPanels, kTokens>(args, panel, token);
    }
    float_tile<kType, kPanels, kTokens>(args, panel, token);
  }

  // tile, of up to kTokens tokens.
  template <DType kType, int kPanels, int kTokens>
  static void tile_of(const ProductArgs& args, std::size_t panel, std::size_t token,
                      std::size_t tokens) {
    if (tokens == kTokens) return tile<kType, kPanels, kTokens>(args, panel, token);
    if constexpr (kTokens > 1) tile_of<kType, kPanels, kTokens - 1>(args, panel, token, tokens);
  }

  // Tiles as even as can be: of one token left over the panel would be read as of many.
  template <DType kType, int kPanels>
  static void float_tiles(const ProductArgs& args, std::size_t panel) {
    constexpr std::size_t kMost = Isa::kFloatTokens;
    std::size_t token = 0;
    for (std::size_t tiles = (args.tokens + kMost - 1) / kMost; tiles > 0; --tiles) {
      const std::size_t tokens = (args.tokens - token) / tiles;
      tile_of<kType, kPanels, kMost>(args, panel, token, tokens);
      token += tokens;
    }
  }

  template <DType kType>
  static void float_panels(const ProductArgs& args, std::size_t first, std::size_t last) {
    for (; first + Isa::kFloatPanels <= last; first += Isa::kFloatPanels) {
      float_tiles<kType, Isa::kFloatPanels>(args, first);
    }
    for (; first < last; ++first) float_tiles<kType, 1>(args, first);
  }

  static void panels(const ProductArgs& args, std::size_t first, std::size_t last) {
    switch (args.type) {
      case DType::kF32:
        return float_panels<DType::kF32>(args, first, last);
      case DType::kF16:
        return float_panels<DType::kF16>(args, first, last);
      case DType::kBF16:
        return float_panels<DType::kBF16>(args, first, last);
      case DType::kQ4_0:
        return quantised_panels<DType::kQ4_0>(args, first, last);
      case DType::kQ4_1:
        return quantised_panels<DType::kQ4_1>(args, first, last);
      case DType::kQ5_0:
        return quantised_panels<DType::kQ5_0>(args, first, last);
      case DType::kQ5_1:
        return quantised_panels<DType::kQ5_1>(args, first, last);
      case DType::kQ8_0:
        return quantised_panels<DType::kQ8_0>(args, first, last);
      case DType::kQ2_K:
        return quantised_panels<DType::kQ2_K>(args, first, last);
      case DType::kQ3_K:
        return quantised_panels<DType::kQ3_K>(args, first, last);
      case DType::kQ4_K:
        return quantised_panels<DType::kQ4_K>(args, first, last);
      case DType::kQ5_K:
        return quantised_panels<DType::kQ5_K>(args, first, last);
      case DType::kQ6_K:
        return quantised_panels<DType::kQ6_K>(args, first, last);
    }
  }
};

}  // namespace sluice
