// Sixteen 32-bit lanes over the registers of one instruction set.
//
// `Isa` gives registers F and I of kLanes lanes each, and their operations; sixteen lanes are one
// register of 512 bits, two of 256 or four of 128. Everything is a template on Isa, which each
// products_<isa>.cpp defines in an unnamed namespace: no code compiled for a newer machine can be
// shared with an older one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#define SLUICE_INLINE [[gnu::always_inline]] static inline

namespace sluice {

template <typename Isa>
inline constexpr int kRegisters = 16 / Isa::kLanes;

// Sixteen floats.
template <typename Isa>
struct Floats {
  typename Isa::F v[kRegisters<Isa>];
};

// Sixteen 32-bit integers, or 64 bytes.
template <typename Isa>
struct Integers {
  typename Isa::I v[kRegisters<Isa>];
};

// Calls body(i) for i = 0 .. kCount - 1, each a constant: what arrays it indexes stays in
// registers.
template <int kCount, typename Body>
SLUICE_INLINE void unrolled(const Body& body) {
  [&]<int... kIndex>(std::integer_sequence<int, kIndex...>) __attribute__((always_inline)) {
    (body(std::integral_constant<int, kIndex>{}), ...);
  }
  (std::make_integer_sequence<int, kCount>{});
}

// Calls body(i) for each register i and keeps what it returns.
template <typename Isa, typename Body>
SLUICE_INLINE Floats<Isa> each_float(const Body& body) {
  Floats<Isa> lanes;
  for (int i = 0; i < kRegisters<Isa>; ++i) lanes.v[i] = body(i);
  return lanes;
}
template <typename Isa, typename Body>
SLUICE_INLINE Integers<Isa> each_integer(const Body& body) {
  Integers<Isa> lanes;
  for (int i = 0; i < kRegisters<Isa>; ++i) lanes.v[i] = body(i);
  return lanes;
}

// --- From and to memory. Register i begins `value_bytes` a lane further on than register i - 1.

template <typename Isa>
SLUICE_INLINE const std::byte* register_at(const void* p, int i, int value_bytes) {
  return static_cast<const std::byte*>(p) + i * Isa::kLanes * value_bytes;
}

template <typename Isa>
SLUICE_INLINE Floats<Isa> broadcast(float x) {
  return each_float<Isa>([&](int) { return Isa::broadcast(x); });
}
template <typename Isa>
SLUICE_INLINE Integers<Isa> broadcast(std::int32_t x) {
  return each_integer<Isa>([&](int) { return Isa::broadcast(x); });
}
template <typename Isa>
SLUICE_INLINE Floats<Isa> load_floats(const void* p) {
  return each_float<Isa>([&](int i) { return Isa::load_floats(register_at<Isa>(p, i, 4)); });
}
template <typename Isa>
SLUICE_INLINE Floats<Isa> load_halves(const void* p) {
  return each_float<Isa>([&](int i) { return Isa::load_halves(register_at<Isa>(p, i, 2)); });
}
template <typename Isa>
SLUICE_INLINE Integers<Isa> load(const void* p) {
  return each_integer<Isa>([&](int i) { return Isa::load(register_at<Isa>(p, i, 4)); });
}
// One byte a lane, widened.
template <typename Isa>
SLUICE_INLINE Integers<Isa> load_unsigned(const void* p) {
  return each_integer<Isa>([&](int i) { return Isa::load_unsigned(register_at<Isa>(p, i, 1)); });
}
template <typename Isa>
SLUICE_INLINE Integers<Isa> load_signed(const void* p) {
  return each_integer<Isa>([&](int i) { return Isa::load_signed(register_at<Isa>(p, i, 1)); });
}
template <typename Isa>
SLUICE_INLINE void store(float* p, const Floats<Isa>& a) {
  for (int i = 0; i < kRegisters<Isa>; ++i) Isa::store(p + i * Isa::kLanes, a.v[i]);
}

// --- Arithmetic.

template <typename Isa>
SLUICE_INLINE Floats<Isa> add(const Floats<Isa>& a, const Floats<Isa>& b) {
  return each_float<Isa>([&](int i) { return Isa::add(a.v[i], b.v[i]); });
}
template <typename Isa>
SLUICE_INLINE Floats<Isa> multiply(const Floats<Isa>& a, const Floats<Isa>& b) {
  return each_float<Isa>([&](int i) { return Isa::multiply(a.v[i], b.v[i]); });
}
// a b + c, rounded once where the machine can.
template <typename Isa>
SLUICE_INLINE Floats<Isa> multiply_add(const Floats<Isa>& a, const Floats<Isa>& b,
                                       const Floats<Isa>& c) {
  return each_float<Isa>([&](int i) { return Isa::multiply_add(a.v[i], b.v[i], c.v[i]); });
}
template <typename Isa>
SLUICE_INLINE Floats<Isa> to_float(const Integers<Isa>& a) {
  return each_float<Isa>([&](int i) { return Isa::to_float(a.v[i]); });
}
template <typename Isa>
SLUICE_INLINE Floats<Isa> as_float(const Integers<Isa>& a) {  // the same bits
  return each_float<Isa>([&](int i) { return Isa::as_float(a.v[i]); });
}
template <typename Isa>
SLUICE_INLINE Integers<Isa> add(const Integers<Isa>& a, const Integers<Isa>& b) {
  return each_integer<Isa>([&](int i) { return Isa::add(a.v[i], b.v[i]); });
}
template <typename Isa>
SLUICE_INLINE Integers<Isa> subtract(const Integers<Isa>& a, const Integers<Isa>& b) {
  return each_integer<Isa>([&](int i) { return Isa::subtract(a.v[i], b.v[i]); });
}
// The bits of `a` that are set in `mask`, the same for every lane.
template <typename Isa>
SLUICE_INLINE Integers<Isa> masked(const Integers<Isa>& a, std::uint32_t mask) {
  const auto bits = Isa::broadcast(static_cast<std::int32_t>(mask));
  return each_integer<Isa>([&](int i) { return Isa::bits_and(a.v[i], bits); });
}
template <typename Isa>
SLUICE_INLINE Integers<Isa> bits_or(const Integers<Isa>& a, const Integers<Isa>& b) {
  return each_integer<Isa>([&](int i) { return Isa::bits_or(a.v[i], b.v[i]); });
}
// Shifts every lane left (right if negative), bringing in zeros.
template <int kBy, typename Isa>
SLUICE_INLINE Integers<Isa> shift(const Integers<Isa>& a) {
  if constexpr (kBy == 0) {
    return a;
  } else if constexpr (kBy > 0) {
    return each_integer<Isa>([&](int i) { return Isa::template shift_left<kBy>(a.v[i]); });
  } else {
    return each_integer<Isa>([&](int i) { return Isa::template shift_right<-kBy>(a.v[i]); });
  }
}
template <typename Isa>
SLUICE_INLINE Integers<Isa> shift_right_by(const Integers<Isa>& a, int by) {
  return each_integer<Isa>([&](int i) { return Isa::shift_right_by(a.v[i], by); });
}
// The bytes with their highest bits turned: q + 128 without a sign becomes q with one.
template <typename Isa>
SLUICE_INLINE Integers<Isa> flip_signs(const Integers<Isa>& a) {
  const auto signs = Isa::broadcast(static_cast<std::int32_t>(0x80808080));
  return each_integer<Isa>([&](int i) { return Isa::bits_xor(a.v[i], signs); });
}
// Adds a dot product of four bytes in each lane, where the machine has it.
template <typename Isa>
SLUICE_INLINE void add_dot(const Integers<Isa>& weights, typename Isa::I activations,
                           Integers<Isa>& sum) {
  for (int i = 0; i < kRegisters<Isa>; ++i) {
    sum.v[i] = Isa::dot(sum.v[i], weights.v[i], activations);
  }
}
// Elsewhere: a dot product of two bytes in each 16 bits, of weights without or with a sign; the sum
// of 16 bits and 16 bits; and each lane's two 16 bits added up.
template <bool kSigned, typename Isa>
SLUICE_INLINE Integers<Isa> multiply_pairs(const Integers<Isa>& weights,
                                           typename Isa::I activations) {
  return each_integer<Isa>([&](int i) {
    if constexpr (!kSigned) return Isa::multiply_pairs(weights.v[i], activations);
    return Isa::multiply_pairs(Isa::magnitudes(weights.v[i]),
                               Isa::with_signs_of(activations, weights.v[i]));
  });
}
template <typename Isa>
SLUICE_INLINE Integers<Isa> add_halves(const Integers<Isa>& a, const Integers<Isa>& b) {
  return each_integer<Isa>([&](int i) {
    auto sum = Isa::add_halves(a.v[i], b.v[i]);
    asm("" : "+x"(sum));  // not later: GCC would first collect more products than registers hold
    return sum;
  });
}
template <typename Isa>
SLUICE_INLINE Integers<Isa> widen_pairs(const Integers<Isa>& a) {
  return each_integer<Isa>([&](int i) { return Isa::widen_pairs(a.v[i]); });
}
// sum + a dot product of two BF16 numbers in each lane, the first of a pair in its low half.
template <typename Isa>
SLUICE_INLINE Floats<Isa> add_pair_dot(const Integers<Isa>& weights, typename Isa::I activations,
                                       const Floats<Isa>& sum) {
  return each_float<Isa>([&](int i) {
    if constexpr (Isa::kPairDot) {
      return Isa::pair_dot(sum.v[i], weights.v[i], activations);
    } else {
      const auto high_half = Isa::broadcast(static_cast<std::int32_t>(0xffff0000));
      const auto even = [](auto pair) { return Isa::as_float(Isa::template shift_left<16>(pair)); };
      const auto odd = [&](auto pair) { return Isa::as_float(Isa::bits_and(pair, high_half)); };
      const auto first = Isa::multiply_add(even(weights.v[i]), even(activations), sum.v[i]);
      return Isa::multiply_add(odd(weights.v[i]), odd(activations), first);
    }
  });
}

}  // namespace sluice
