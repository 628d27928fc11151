// The forms in which products take their activations.
//
// What a form costs and what it keeps: docs/design/activations.md.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "memory/dtype.h"

namespace sluice {

enum class Precision : std::uint8_t {
  kNormal,  // as wide as the fastest arithmetic takes them: int8 or BF16
  kHigh,    // so that their rounding is lost in f32's
};

constexpr std::string_view precision_name(Precision precision) {
  return precision == Precision::kHigh ? "high" : "normal";
}

enum class ActivationForm : std::uint8_t { kF32, kBf16, kInt8, kInt16 };
inline constexpr std::size_t kActivationForms = 4;

// The form that products with weights of this type take.
ActivationForm activation_form(DType weights, Precision precision);

inline constexpr std::size_t kActivationGroup = 32;

// 32 consecutive activations of one token as integers q of one scale: kInt8's -127..127.
struct alignas(16) Int8Group {
  std::int8_t high[kActivationGroup];
  float scale;                      // value = scale * q
  std::int32_t minus_half_sums[2];  // - the sums of q over columns 0..15 and 16..31
  std::int32_t minus_sum;           // and - that over all
};
static_assert(sizeof(Int8Group) == 48);

// kInt16's q = 128 * high + low, 15 bits in two signed bytes.
struct alignas(16) Int16Group {
  std::int8_t high[kActivationGroup];
  std::int8_t low[kActivationGroup];  // -64..63
  float scale;
  std::int32_t minus_half_sums[2];
  std::int32_t minus_sum;
};
static_assert(sizeof(Int16Group) == 80);

// Bytes from one token's activations to the next one's. Of groups, columns must be a multiple
// of 32. An odd number of cache lines, so that the tokens of a product, read side by side, don't
// meet in the same sets of a cache: with rows of 4 KiB apart a product takes half as long again.
constexpr std::size_t activation_row_bytes(ActivationForm form, std::size_t columns) {
  constexpr std::size_t kLineBytes = 64;
  std::size_t bytes = 0;
  switch (form) {
    case ActivationForm::kF32:
      bytes = columns * sizeof(float);
      break;
    case ActivationForm::kBf16:
      bytes = columns * 2;
      break;
    case ActivationForm::kInt8:
      bytes = columns / kActivationGroup * sizeof(Int8Group);
      break;
    case ActivationForm::kInt16:
      bytes = columns / kActivationGroup * sizeof(Int16Group);
      break;
  }
  return ((bytes + kLineBytes - 1) / kLineBytes | 1) * kLineBytes;
}

// A pass's activations in each form that is wanted; the others are null. [tokens, columns], each
// token's row activation_row_bytes behind the one's before.
struct Activations {
  std::array<std::byte*, kActivationForms> forms{};

  std::byte*& operator[](ActivationForm form) { return forms[static_cast<std::size_t>(form)]; }
  constexpr std::byte* row(ActivationForm form, std::size_t token, std::size_t columns) const {
    return forms[static_cast<std::size_t>(form)] + token * activation_row_bytes(form, columns);
  }
  constexpr bool wants(ActivationForm form) const {
    return forms[static_cast<std::size_t>(form)] != nullptr;
  }
  float* f32(std::size_t token, std::size_t columns) const {
    return reinterpret_cast<float*>(row(ActivationForm::kF32, token, columns));
  }
};

// Converts one token's activations [columns] to `form` (not kF32). Serial. Non-finite values make
// every output of their token NaN rather than anything plausible.
void convert_activations(ActivationForm form, const float* in, std::size_t columns, std::byte* out);

}  // namespace sluice
