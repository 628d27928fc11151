// The product kernels, written once over sixteen 32-bit lanes: a lane is a row of the panel.
//
// `Isa` gives registers of kLanes lanes and their operations; sixteen lanes are one 512-bit
// register, two of 256 bits or four of 128. Each products_<isa>.cpp defines its Isa in an unnamed
// namespace and is the only file compiled for it, so everything here is a template on Isa (no code
// for a newer machine can be shared with an older one), and nothing calls into other headers.
//
// A group of 32 columns is unpacked once into registers and then meets every token of the call.
// A token's arithmetic is the same function whether it is alone or one of many.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "layers/products_isa.h"
#include "memory/packed_layout.h"

#define SLUICE_INLINE [[gnu::always_inline]] static inline

namespace sluice {

template <typename Isa>
struct Kernels {
  static constexpr int kRegisters = 16 / Isa::kLanes;
  static constexpr std::size_t kPrefetchBytes = 8192;
  static constexpr std::size_t kTokenBlock = 32;  // whose sums are kept while a panel is read

  struct F {  // sixteen floats
    typename Isa::F v[kRegisters];
  };
  struct I {  // sixteen 32-bit integers, or 64 bytes
    typename Isa::I v[kRegisters];
  };

  // --- Sixteen lanes at once.

  template <typename Body>
  SLUICE_INLINE F floats(const Body& body) {
    F lanes;
    for (int i = 0; i < kRegisters; ++i) lanes.v[i] = body(i);
    return lanes;
  }
  template <typename Body>
  SLUICE_INLINE I integers(const Body& body) {
    I lanes;
    for (int i = 0; i < kRegisters; ++i) lanes.v[i] = body(i);
    return lanes;
  }

  SLUICE_INLINE F broadcast(float x) {
    return floats([&](int) { return Isa::broadcast(x); });
  }
  SLUICE_INLINE I broadcast(std::int32_t x) {
    return integers([&](int) { return Isa::broadcast(x); });
  }
  SLUICE_INLINE F load_floats(const void* p) {
    return floats([&](int i) { return Isa::load_floats(at(p, i * Isa::kLanes * 4)); });
  }
  SLUICE_INLINE I load(const void* p) {
    return integers([&](int i) { return Isa::load(at(p, i * Isa::kLanes * 4)); });
  }
  SLUICE_INLINE F load_halves(const void* p) {
    return floats([&](int i) { return Isa::load_halves(at(p, i * Isa::kLanes * 2)); });
  }
  SLUICE_INLINE I load_unsigned(const void* p) {
    return integers([&](int i) { return Isa::load_unsigned(at(p, i * Isa::kLanes)); });
  }
  SLUICE_INLINE I load_signed(const void* p) {
    return integers([&](int i) { return Isa::load_signed(at(p, i * Isa::kLanes)); });
  }
  SLUICE_INLINE void store(float* p, F a) {
    for (int i = 0; i < kRegisters; ++i) Isa::store(p + i * Isa::kLanes, a.v[i]);
  }
  SLUICE_INLINE F add(F a, F b) {
    return floats([&](int i) { return Isa::add(a.v[i], b.v[i]); });
  }
  SLUICE_INLINE F multiply(F a, F b) {
    return floats([&](int i) { return Isa::multiply(a.v[i], b.v[i]); });
  }
  SLUICE_INLINE F multiply_add(F a, F b, F c) {  // a b + c
    return floats([&](int i) { return Isa::multiply_add(a.v[i], b.v[i], c.v[i]); });
  }
  SLUICE_INLINE F to_float(I a) {
    return floats([&](int i) { return Isa::to_float(a.v[i]); });
  }
  SLUICE_INLINE F as_float(I a) {
    return floats([&](int i) { return Isa::as_float(a.v[i]); });
  }
  SLUICE_INLINE I add(I a, I b) {
    return integers([&](int i) { return Isa::add(a.v[i], b.v[i]); });
  }
  SLUICE_INLINE I subtract(I a, I b) {
    return integers([&](int i) { return Isa::subtract(a.v[i], b.v[i]); });
  }
  SLUICE_INLINE I bits_and(I a, I b) {
    return integers([&](int i) { return Isa::bits_and(a.v[i], b.v[i]); });
  }
  SLUICE_INLINE I bits_or(I a, I b) {
    return integers([&](int i) { return Isa::bits_or(a.v[i], b.v[i]); });
  }
  // Shifts every lane left (right if negative), bringing in zeros.
  template <int kBy>
  SLUICE_INLINE I shift(I a) {
    return integers([&](int i) {
      if constexpr (kBy == 0)
        return a.v[i];
      else if constexpr (kBy > 0)
        return Isa::template shift_left<kBy>(a.v[i]);
      else
        return Isa::template shift_right<-kBy>(a.v[i]);
    });
  }
  SLUICE_INLINE I shift_right_by(I a, int by) {
    return integers([&](int i) { return Isa::shift_right_by(a.v[i], by); });
  }

  SLUICE_INLINE const std::byte* at(const void* p, std::size_t bytes) {
    return static_cast<const std::byte*>(p) + bytes;
  }

  // --- Weights of 16 rows x 32 columns, unpacked.

  // The same byte in all four places of a lane.
  SLUICE_INLINE I every_byte(int byte) { return broadcast(byte * 0x01010101); }

  // Quad plane kJ: byte 4 r + i is the value q of row r, column 4 kJ + i.
  template <BlockLayout kLayout, int kJ>
  SLUICE_INLINE I quad_plane(const std::byte* group) {
    if constexpr (kLayout.bytes) return load(group + 64 * kJ);
    I q = broadcast(0);
    if constexpr (kLayout.nibbles) {
      const I plane = load(group + kLayout.nibbles_at() + 64 * (kJ % 4));
      q = bits_and(shift<kJ / 4 * -4>(plane), every_byte(15));
    }
    if constexpr (kLayout.pairs) {
      const I plane = load(group + kLayout.pairs_at() + 64 * (kJ / 4));
      constexpr int kTo = kLayout.pairs_shift();
      q = bits_or(q, bits_and(shift<kTo - kJ % 4 * 2>(plane), every_byte(3 << kTo)));
    }
    if constexpr (kLayout.bits) {
      constexpr int kTo = kLayout.bits_shift();
      q = bits_or(q, bits_and(shift<kTo - kJ>(load(group)), every_byte(1 << kTo)));
    }
    return q;
  }

  // Without a dot product of bytes the values are kept as pairs of 16 bits: the even and the odd
  // columns of each quad plane.
  struct Weights {
    I quads[Isa::kByteDot ? 8 : 1];
    I even[Isa::kByteDot ? 1 : 8];
    I odd[Isa::kByteDot ? 1 : 8];
    F scale[2];
    F min[2];
  };

  template <BlockLayout kLayout, int kJ = 0>
  SLUICE_INLINE void unpack_values(const std::byte* group, Weights& weights) {
    const I quads = quad_plane<kLayout, kJ>(group);
    if constexpr (Isa::kByteDot) {
      weights.quads[kJ] = quads;
    } else {
      weights.even[kJ] = bits_and(quads, broadcast(0x00ff00ff));
      weights.odd[kJ] = bits_and(shift<-8>(quads), broadcast(0x00ff00ff));
    }
    if constexpr (kJ < 7) unpack_values<kLayout, kJ + 1>(group, weights);
  }

  // The scales (and mins) of group `g`, given the block's d (and m or dmin).
  template <DType kType>
  SLUICE_INLINE void unpack_scales(const std::byte* block, int g, F d, F m, Weights& weights) {
    if constexpr (kType == DType::kQ4_K || kType == DType::kQ5_K) {
      const I low = load_unsigned(block + kScalesQ45At + 16 * g);
      const I high =
          shift_right_by(load_unsigned(block + kScalesQ45HighAt + 16 * (g / 2)), g % 2 * 4);
      const I scale = bits_or(bits_and(low, broadcast(15)), shift<4>(bits_and(high, broadcast(3))));
      const I min = bits_or(shift<-4>(low), shift<2>(bits_and(high, broadcast(12))));
      weights.scale[0] = multiply(d, to_float(scale));
      weights.min[0] = multiply(m, to_float(min));
    } else if constexpr (kType == DType::kQ6_K) {
      for (int h = 0; h < 2; ++h) {
        const I scale = load_signed(block + kScalesQ6At + 16 * (2 * g + h));
        weights.scale[h] = multiply(d, to_float(scale));
      }
    } else if constexpr (kType == DType::kQ2_K) {
      for (int h = 0; h < 2; ++h) {
        const I both = load_unsigned(block + kScalesQ2At + 16 * (2 * g + h));
        weights.scale[h] = multiply(d, to_float(bits_and(both, broadcast(15))));
        weights.min[h] = multiply(m, to_float(shift<-4>(both)));
      }
    } else if constexpr (kType == DType::kQ3_K) {
      const I lows = load_unsigned(block + kScalesQ3At + 16 * g);
      const I highs =
          shift_right_by(load_unsigned(block + kScalesQ3HighAt + 16 * (g / 2)), g % 2 * 4);
      for (int h = 0; h < 2; ++h) {
        const I low = bits_and(h == 0 ? lows : shift<-4>(lows), broadcast(15));
        const I high = bits_and(h == 0 ? shift<4>(highs) : shift<2>(highs), broadcast(48));
        const I scale = subtract(bits_or(low, high), broadcast(32));
        weights.scale[h] = multiply(d, to_float(scale));
      }
    } else {
      weights.scale[0] = d;
      if constexpr (block_layout(kType).mins) weights.min[0] = m;
    }
  }

  // --- One group of weights meets one group of activations.

  // Activations as the dot product takes them: bytes as they are, or pairs of 16 bits.
  struct Pairs {
    alignas(32) std::int16_t even[16];
    alignas(32) std::int16_t odd[16];
  };
  SLUICE_INLINE Pairs to_pairs(const ActivationGroup& in) {
    Pairs pairs;
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

  // total[t][p]: sums of q * activation over quad planes [kFirst, kFirst + kCount), exact, of panel
  // p and token t.
  template <int kFirst, int kCount, int kPanels, int kTokens, typename Activations>
  SLUICE_INLINE void dot(const Weights (&weights)[kPanels], const Activations* const (&in)[kTokens],
                         I (&total)[kTokens][kPanels]) {
    constexpr int kChains = kPanels * kTokens == 1 ? 2 : 1;  // additions that need not wait
    I first[kTokens][kPanels][kChains];
    I second[kTokens][kPanels][kChains];
    for (int t = 0; t < kTokens; ++t) {
      for (int p = 0; p < kPanels; ++p) {
        for (int c = 0; c < kChains; ++c) first[t][p][c] = second[t][p][c] = broadcast(0);
      }
    }
#pragma GCC unroll 8
    for (int j = kFirst; j < kFirst + kCount; ++j) {
      for (int t = 0; t < kTokens; ++t) {
        if constexpr (Isa::kByteDot) {
          const auto high = Isa::broadcast(word(in[t]->high, j));
          const auto low = Isa::broadcast(word(in[t]->low, j));
          for (int p = 0; p < kPanels; ++p) {
            multiply_add(weights[p].quads[j], high, first[t][p][j % kChains]);
            multiply_add(weights[p].quads[j], low, second[t][p][j % kChains]);
          }
        } else {
          const auto even = Isa::broadcast(word(in[t]->even, j));
          const auto odd = Isa::broadcast(word(in[t]->odd, j));
          for (int p = 0; p < kPanels; ++p) {
            multiply_add(weights[p].even[j], even, first[t][p][j % kChains]);
            multiply_add(weights[p].odd[j], odd, second[t][p][j % kChains]);
          }
        }
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      for (int p = 0; p < kPanels; ++p) {
        I(&high)[kChains] = first[t][p];
        I(&low)[kChains] = second[t][p];
        for (int c = 1; c < kChains; ++c) {
          high[0] = add(high[0], high[c]);
          low[0] = add(low[0], low[c]);
        }
        total[t][p] = add(Isa::kByteDot ? shift<7>(high[0]) : high[0], low[0]);
      }
    }
  }
  SLUICE_INLINE void multiply_add(const I& weights, typename Isa::I activations, I& sum) {
    for (int i = 0; i < kRegisters; ++i) {
      sum.v[i] = Isa::dot(sum.v[i], weights.v[i], activations);
    }
  }

  // Adds what this group adds to each row's output for kTokens tokens.
  template <BlockLayout kLayout, int kPanels, int kTokens>
  SLUICE_INLINE void add_group(const Weights (&weights)[kPanels],
                               const ActivationGroup* const (&in)[kTokens],
                               F (&sums)[kTokens][kPanels]) {
    if constexpr (Isa::kByteDot) {
      add_group<kLayout>(weights, in, in, sums);
    } else {
      Pairs pairs[kTokens];
      const Pairs* values[kTokens];
      for (int t = 0; t < kTokens; ++t) {
        pairs[t] = to_pairs(*in[t]);
        values[t] = &pairs[t];
      }
      add_group<kLayout>(weights, in, values, sums);
    }
  }
  template <BlockLayout kLayout, int kPanels, int kTokens, typename Activations>
  SLUICE_INLINE void add_group(const Weights (&weights)[kPanels],
                               const ActivationGroup* const (&in)[kTokens],
                               const Activations* const (&values)[kTokens],
                               F (&sums)[kTokens][kPanels]) {
    constexpr int kParts = kLayout.halves ? 2 : 1;
    I total[2][kTokens][kPanels];
    dot<0, 8 / kParts>(weights, values, total[0]);
    if constexpr (kLayout.halves) dot<4, 4>(weights, values, total[1]);
    for (int t = 0; t < kTokens; ++t) {
      const std::int32_t* in_sums = kLayout.halves ? in[t]->half_sums : &in[t]->sum;
      for (int p = 0; p < kPanels; ++p) {
        F sum;
        for (int h = 0; h < kParts; ++h) {
          I q = total[h][t][p];
          if constexpr (kLayout.offset_log2 >= 0) {
            q = subtract(q, shift<kLayout.offset_log2>(broadcast(in_sums[h])));
          }
          sum = h == 0 ? multiply(weights[p].scale[h], to_float(q))
                       : multiply_add(weights[p].scale[h], to_float(q), sum);
        }
        for (int h = 0; h < kParts && kLayout.mins; ++h) {
          sum = multiply_add(weights[p].min[h], to_float(broadcast(in_sums[h])), sum);
        }
        sums[t][p] = multiply_add(sum, broadcast(in[t]->scale), sums[t][p]);
      }
    }
  }

  // --- One panel.

  // Adds or writes the rows that exist of a panel's sixteen sums.
  SLUICE_INLINE void write(const ProductArgs& args, std::size_t panel, std::size_t token, F sums) {
    const std::size_t row = panel * 16;
    float* out = args.out + token * args.out_stride + row;
    if (row + 16 <= args.rows) {
      store(out, args.accumulate ? add(load_floats(out), sums) : sums);
      return;
    }
    float values[16];
    store(values, sums);
    for (std::size_t r = 0; row + r < args.rows; ++r) {
      out[r] = args.accumulate ? out[r] + values[r] : values[r];
    }
  }

  // The weights of group `g` of the block at `block`, whose successors are fetched ahead.
  template <DType kType>
  SLUICE_INLINE void unpack(const std::byte* block, int g, Weights& weights) {
    constexpr BlockLayout kLayout = block_layout(kType);
    const std::byte* group = block + kLayout.group_at(g);
    for (std::size_t line = 0; line < kLayout.block_bytes() / kLayout.groups; line += 64) {
      __builtin_prefetch(group + kPrefetchBytes + line);
    }
    const F d = load_halves(block);
    F m = d;
    if constexpr (kLayout.mins) m = load_halves(block + kMinAt);
    if constexpr (kLayout.groups > 1) m = multiply(m, broadcast(-1.0f));  // dmin is subtracted
    unpack_scales<kType>(block, g, d, m, weights);
    unpack_values<kLayout>(group, weights);
  }

  // One token and one panel: the sums stay in registers.
  template <DType kType>
  static void vector_panel(const ProductArgs& args, std::size_t panel) {
    constexpr BlockLayout kLayout = block_layout(kType);
    const std::size_t blocks = args.columns / kLayout.columns();
    const std::byte* block = args.panels + panel * blocks * kLayout.block_bytes();
    const ActivationGroup* in = args.in;
    F sums[1][1] = {{broadcast(0.0f)}};
    for (std::size_t b = 0; b < blocks; ++b, block += kLayout.block_bytes()) {
      for (int g = 0; g < static_cast<int>(kLayout.groups); ++g, ++in) {
        Weights weights[1];
        unpack<kType>(block, g, weights[0]);
        const ActivationGroup* const here[1] = {in};
        add_group<kLayout>(weights, here, sums);
      }
    }
    write(args, panel, 0, sums[0][0]);
  }

  // add_group with sums kept in memory.
  template <BlockLayout kLayout, int kPanels, int kTokens>
  SLUICE_INLINE void add_to(const Weights (&weights)[kPanels], const ActivationGroup* in,
                            std::size_t in_stride, float (*sums)[kPanels][16]) {
    const ActivationGroup* here[kTokens];
    F now[kTokens][kPanels];
    for (int t = 0; t < kTokens; ++t) {
      here[t] = in + t * in_stride;
      for (int p = 0; p < kPanels; ++p) now[t][p] = load_floats(sums[t][p]);
    }
    add_group<kLayout>(weights, here, now);
    for (int t = 0; t < kTokens; ++t) {
      for (int p = 0; p < kPanels; ++p) store(sums[t][p], now[t][p]);
    }
  }

  // A block of tokens and kPanels panels: unpacked weights stay in registers, the sums in L1.
  template <DType kType, int kPanels>
  static void matrix_panels(const ProductArgs& args, std::size_t panel, std::size_t first_token,
                            std::size_t tokens) {
    constexpr BlockLayout kLayout = block_layout(kType);
    const std::size_t column_groups = args.columns / kPlaneColumns;
    const std::size_t blocks = args.columns / kLayout.columns();
    const std::size_t panel_bytes = blocks * kLayout.block_bytes();
    const std::byte* block = args.panels + panel * panel_bytes;
    const ActivationGroup* in = args.in + first_token * column_groups;
    alignas(64) float sums[kTokenBlock][kPanels][16];
    std::memset(sums, 0, tokens * sizeof(sums[0]));
    for (std::size_t b = 0; b < blocks; ++b, block += kLayout.block_bytes()) {
      for (int g = 0; g < static_cast<int>(kLayout.groups); ++g, ++in) {
        Weights weights[kPanels];
        for (int p = 0; p < kPanels; ++p) unpack<kType>(block + p * panel_bytes, g, weights[p]);
        std::size_t t = 0;
        for (; t + Isa::kTokens <= tokens; t += Isa::kTokens) {
          add_to<kLayout, kPanels, Isa::kTokens>(weights, in + t * column_groups, column_groups,
                                                 sums + t);
        }
        for (; t < tokens; ++t) {
          add_to<kLayout, kPanels, 1>(weights, in + t * column_groups, column_groups, sums + t);
        }
      }
    }
    for (std::size_t t = 0; t < tokens; ++t) {
      for (int p = 0; p < kPanels; ++p) {
        write(args, panel + p, first_token + t, load_floats(sums[t][p]));
      }
    }
  }

  template <DType kType>
  static void quantised_panels(const ProductArgs& args, std::size_t first, std::size_t last) {
    if (args.tokens == 1) {
      for (std::size_t panel = first; panel < last; ++panel) vector_panel<kType>(args, panel);
      return;
    }
    for (std::size_t token = 0; token < args.tokens; token += kTokenBlock) {
      const std::size_t left = args.tokens - token;
      const std::size_t tokens = left < kTokenBlock ? left : kTokenBlock;
      std::size_t panel = first;
      for (; panel + Isa::kPanels <= last; panel += Isa::kPanels) {
        matrix_panels<kType, Isa::kPanels>(args, panel, token, tokens);
      }
      for (; panel < last; ++panel) matrix_panels<kType, 1>(args, panel, token, tokens);
    }
  }

  // One column of a float panel, and the next too.
  template <DType kType>
  SLUICE_INLINE F load_column(const std::byte* from) {
    return kType == DType::kF16 ? load_halves(from) : load_floats(from);
  }
  template <DType kType>
  SLUICE_INLINE void load_columns(const std::byte* from, F& even, F& odd) {
    if constexpr (kType == DType::kBF16) {
      const I both = load(from);
      even = as_float(shift<16>(both));
      odd = as_float(bits_and(both, broadcast(static_cast<std::int32_t>(0xffff0000))));
    } else {
      even = load_column<kType>(from);
      odd = load_column<kType>(from + (kType == DType::kF16 ? 32 : 64));
    }
  }

  // kPanels panels and kTokens tokens: the sums stay in registers.
  template <DType kType, int kPanels, int kTokens>
  static void float_tile(const ProductArgs& args, std::size_t panel, std::size_t token) {
    constexpr std::size_t kColumnBytes = kType == DType::kF32 ? 64 : 32;
    const std::size_t columns = args.columns;
    const std::size_t panel_bytes = columns * kColumnBytes;
    const std::byte* panels = args.panels + panel * panel_bytes;
    const float* in = args.in_f32 + token * columns;
    F sums[kTokens][kPanels];
    for (int t = 0; t < kTokens; ++t) {
      for (int p = 0; p < kPanels; ++p) sums[t][p] = broadcast(0.0f);
    }
    const auto add_column = [&](const F(&weights)[kPanels], std::size_t c) {
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t) {
        const F activation = broadcast(in[t * columns + c]);
        for (int p = 0; p < kPanels; ++p) {
          sums[t][p] = multiply_add(weights[p], activation, sums[t][p]);
        }
      }
    };
    std::size_t c = 0;
    for (; c + 2 <= columns; c += 2) {
      F even[kPanels];
      F odd[kPanels];
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
      F last[kPanels];
      for (int p = 0; p < kPanels; ++p) {
        last[p] = load_column<kType>(panels + p * panel_bytes + c * kColumnBytes);
      }
      add_column(last, c);
    }
    for (int t = 0; t < kTokens; ++t) {
      for (int p = 0; p < kPanels; ++p) write(args, panel + p, token + t, sums[t][p]);
    }
  }

  template <DType kType, int kPanels>
  static void float_tiles(const ProductArgs& args, std::size_t panel) {
    constexpr std::size_t kMost = Isa::kFloatTokens;
    std::size_t token = 0;
    for (; token + kMost <= args.tokens; token += kMost) {
      float_tile<kType, kPanels, kMost>(args, panel, token);
    }
    if constexpr (kMost > 4) {
      for (; token + 4 <= args.tokens; token += 4)
        float_tile<kType, kPanels, 4>(args, panel, token);
    }
    for (; token < args.tokens; ++token) float_tile<kType, kPanels, 1>(args, panel, token);
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

  // --- Activations.

  static constexpr float kLargest = 127.0f * 128 + 63;  // of the 15-bit integers
  static constexpr float kSmallest = 1e-30f;            // a group all below this is zeros

  static void quantise_group(const float* in, ActivationGroup& out) {
    std::uint32_t bits[kActivationGroup];
    std::memcpy(bits, in, sizeof(bits));
    std::uint32_t largest_bits = 0;  // magnitudes compare as their bits do, NaN above all
    for (const std::uint32_t value : bits) {
      const std::uint32_t magnitude = value & 0x7fffffff;
      largest_bits = magnitude > largest_bits ? magnitude : largest_bits;
    }
    const bool finite = largest_bits < 0x7f800000;
    const float largest = __builtin_bit_cast(float, largest_bits);
    const bool zero = !finite || largest < kSmallest;
    out.scale = !finite ? __builtin_nanf("") : zero ? 0.0f : largest / kLargest;
    const float inverse = zero ? 0.0f : kLargest / largest;

    // Adding 1.5 * 2^23 leaves the nearest integer in a float's low bits.
    constexpr float kRound = 12582912.0f;
    std::int32_t q[kActivationGroup];
    for (std::size_t i = 0; i < kActivationGroup; ++i) {
      const float value = finite ? in[i] : 0.0f;
      q[i] = __builtin_bit_cast(std::int32_t, value * inverse + kRound) -
             __builtin_bit_cast(std::int32_t, kRound);
    }
    for (std::size_t i = 0; i < kActivationGroup; ++i) {
      const std::int32_t high = (q[i] + 64) >> 7;
      out.high[i] = static_cast<std::int8_t>(high);
      out.low[i] = static_cast<std::int8_t>(q[i] - (high << 7));
    }
    for (int h = 0; h < 2; ++h) {
      std::int32_t sum = 0;
      for (int i = 0; i < 16; ++i) sum += q[16 * h + i];
      out.half_sums[h] = sum;
    }
    out.sum = out.half_sums[0] + out.half_sums[1];
  }

  static void quantise(const float* in, std::size_t tokens, std::size_t columns,
                       ActivationGroup* out) {
    const std::size_t groups = tokens * (columns / kActivationGroup);
    for (std::size_t g = 0; g < groups; ++g) quantise_group(in + g * kActivationGroup, out[g]);
  }
};

}  // namespace sluice
