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
  static constexpr std::size_t kPrefetchBytes = 2048;
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

  // Sums of weights.q * activations over quad planes [kFirst, kFirst + kCount), exact.
  template <int kFirst, int kCount, typename Activations>
  SLUICE_INLINE I dot(const Weights& weights, const Activations& in) {
    I first = broadcast(0);
    I second = broadcast(0);
    if constexpr (Isa::kByteDot) {
#pragma GCC unroll 8
      for (int j = kFirst; j < kFirst + kCount; ++j) {
        first.v[0] = Isa::dot(first.v[0], weights.quads[j].v[0], word(in.high, j));
        second.v[0] = Isa::dot(second.v[0], weights.quads[j].v[0], word(in.low, j));
      }
      first = shift<7>(first);
    } else {
#pragma GCC unroll 8
      for (int j = kFirst; j < kFirst + kCount; ++j) {
        const auto even = Isa::broadcast(word(in.even, j));
        const auto odd = Isa::broadcast(word(in.odd, j));
        for (int i = 0; i < kRegisters; ++i) {
          first.v[i] = Isa::dot(first.v[i], weights.even[j].v[i], even);
          second.v[i] = Isa::dot(second.v[i], weights.odd[j].v[i], odd);
        }
      }
    }
    return add(first, second);
  }

  template <BlockLayout kLayout, int kFirst, int kCount, typename Activations>
  SLUICE_INLINE F centred_dot(const Weights& weights, const Activations& in, std::int32_t sum) {
    I total = dot<kFirst, kCount>(weights, in);
    if constexpr (kLayout.offset_log2 >= 0) {
      total = subtract(total, shift<kLayout.offset_log2>(broadcast(sum)));
    }
    return to_float(total);
  }

  // sum + what this group adds to each row's output for one token.
  template <BlockLayout kLayout>
  SLUICE_INLINE F add_group(F sum, const Weights& weights, const ActivationGroup& in) {
    const auto meet = [&](const auto& values) {
      F part;
      if constexpr (kLayout.halves) {
        part = multiply(weights.scale[0],
                        centred_dot<kLayout, 0, 4>(weights, values, in.half_sums[0]));
        part = multiply_add(weights.scale[1],
                            centred_dot<kLayout, 4, 4>(weights, values, in.half_sums[1]), part);
      } else {
        part = multiply(weights.scale[0], centred_dot<kLayout, 0, 8>(weights, values, in.sum));
      }
      return part;
    };
    F part;
    if constexpr (Isa::kByteDot) {
      part = meet(in);
    } else {
      part = meet(to_pairs(in));
    }
    if constexpr (kLayout.mins && kLayout.halves) {
      // Q2_K: value = scale q - min.
      part = negative_multiply_add(weights.min[0], to_float(broadcast(in.half_sums[0])), part);
      part = negative_multiply_add(weights.min[1], to_float(broadcast(in.half_sums[1])), part);
    } else if constexpr (kLayout.mins) {
      const F total = to_float(broadcast(in.sum));
      part = kLayout.groups == 1 ? multiply_add(weights.min[0], total, part)
                                 : negative_multiply_add(weights.min[0], total, part);
    }
    return multiply_add(part, broadcast(in.scale), sum);
  }
  SLUICE_INLINE F negative_multiply_add(F a, F b, F c) {  // c - a b
    return floats([&](int i) { return Isa::negative_multiply_add(a.v[i], b.v[i], c.v[i]); });
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

  template <DType kType, bool kOneToken>
  static void quantised_panel(const ProductArgs& args, std::size_t panel, std::size_t first_token,
                              std::size_t tokens) {
    constexpr BlockLayout kLayout = block_layout(kType);
    const std::size_t column_groups = args.columns / kPlaneColumns;
    const std::size_t blocks = args.columns / kLayout.columns();
    const std::byte* block = args.panels + panel * blocks * kLayout.block_bytes();
    const ActivationGroup* in = args.in + first_token * column_groups;
    F only = broadcast(0.0f);
    float sums[kOneToken ? 1 : kTokenBlock][16];
    if constexpr (!kOneToken) {
      for (std::size_t t = 0; t < tokens; ++t) store(sums[t], only);
    }
    for (std::size_t b = 0; b < blocks; ++b, block += kLayout.block_bytes()) {
      const F d = load_halves(block);
      const F m = kLayout.mins ? load_halves(block + kMinAt) : d;
      for (int g = 0; g < static_cast<int>(kLayout.groups); ++g, ++in) {
        const std::byte* group = block + kLayout.group_at(g);
        for (std::size_t line = 0; line < kLayout.block_bytes() / kLayout.groups; line += 64) {
          __builtin_prefetch(group + kPrefetchBytes + line);
        }
        Weights weights;
        unpack_scales<kType>(block, g, d, m, weights);
        unpack_values<kLayout>(group, weights);
        if constexpr (kOneToken) {
          only = add_group<kLayout>(only, weights, *in);
        } else {
          for (std::size_t t = 0; t < tokens; ++t) {
            store(sums[t],
                  add_group<kLayout>(load_floats(sums[t]), weights, in[t * column_groups]));
          }
        }
      }
    }
    if constexpr (kOneToken) return write(args, panel, first_token, only);
    for (std::size_t t = 0; t < tokens; ++t) {
      write(args, panel, first_token + t, load_floats(sums[t]));
    }
  }

  template <DType kType>
  static void quantised_panels(const ProductArgs& args, std::size_t first, std::size_t last) {
    for (std::size_t token = 0; token < args.tokens; token += kTokenBlock) {
      const std::size_t left = args.tokens - token;
      const std::size_t tokens = left < kTokenBlock ? left : kTokenBlock;
      for (std::size_t panel = first; panel < last; ++panel) {
        if (tokens == 1) {
          quantised_panel<kType, true>(args, panel, token, 1);
        } else {
          quantised_panel<kType, false>(args, panel, token, tokens);
        }
      }
    }
  }

  // Columns [column, column + 2) of a float panel.
  template <DType kType>
  SLUICE_INLINE void load_columns(const std::byte* panel, std::size_t column, F (&weights)[2]) {
    if constexpr (kType == DType::kBF16) {
      const I pairs = load(panel + column * 32);
      weights[0] = as_float(shift<16>(pairs));
      weights[1] = as_float(bits_and(pairs, broadcast(static_cast<std::int32_t>(0xffff0000))));
    } else {
      weights[0] = load_column<kType>(panel, column);
      weights[1] = load_column<kType>(panel, column + 1);
    }
  }
  template <DType kType>
  SLUICE_INLINE F load_column(const std::byte* panel, std::size_t column) {
    if constexpr (kType == DType::kF16) return load_halves(panel + column * 32);
    return load_floats(panel + column * 64);
  }

  template <DType kType, std::size_t kTokens>
  static void float_panel(const ProductArgs& args, std::size_t panel, std::size_t token) {
    constexpr std::size_t kColumnBytes = kType == DType::kF32 ? 64 : 32;
    const std::size_t columns = args.columns;
    const std::byte* weights_at = args.panels + panel * columns * kColumnBytes;
    const float* in = args.in_f32 + token * columns;
    F sums[kTokens];
    for (F& sum : sums) sum = broadcast(0.0f);
    std::size_t c = 0;
    for (; c + 2 <= columns; c += 2) {
      __builtin_prefetch(weights_at + c * kColumnBytes + kPrefetchBytes);
      if constexpr (kType == DType::kF32) {
        __builtin_prefetch(weights_at + c * kColumnBytes + kPrefetchBytes + 64);
      }
      F weights[2];
      load_columns<kType>(weights_at, c, weights);
#pragma GCC unroll 16
      for (std::size_t t = 0; t < kTokens; ++t) {
        sums[t] = multiply_add(weights[0], broadcast(in[t * columns + c]), sums[t]);
      }
#pragma GCC unroll 16
      for (std::size_t t = 0; t < kTokens; ++t) {
        sums[t] = multiply_add(weights[1], broadcast(in[t * columns + c + 1]), sums[t]);
      }
    }
    if constexpr (kType != DType::kBF16) {
      for (; c < columns; ++c) {
        const F weights = load_column<kType>(weights_at, c);
        for (std::size_t t = 0; t < kTokens; ++t) {
          sums[t] = multiply_add(weights, broadcast(in[t * columns + c]), sums[t]);
        }
      }
    }
    for (std::size_t t = 0; t < kTokens; ++t) write(args, panel, token + t, sums[t]);
  }

  template <DType kType>
  static void float_panels(const ProductArgs& args, std::size_t first, std::size_t last) {
    constexpr std::size_t kMost = Isa::kFloatTokens;
    std::size_t token = 0;
    for (; token + kMost <= args.tokens; token += kMost) {
      for (std::size_t p = first; p < last; ++p) float_panel<kType, kMost>(args, p, token);
    }
    for (; token + 2 <= args.tokens; token += 2) {
      for (std::size_t p = first; p < last; ++p) float_panel<kType, 2>(args, p, token);
    }
    for (; token < args.tokens; ++token) {
      for (std::size_t p = first; p < last; ++p) float_panel<kType, 1>(args, p, token);
    }
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
