#include "memory/quant.h"

#include <bit>
#include <cstring>

#include "memory/error.h"

namespace sluice {

namespace {

using Byte = std::uint8_t;

float half_at(const Byte* bytes) {
  std::uint16_t bits;
  std::memcpy(&bits, bytes, sizeof(bits));
  return half_to_float(bits);
}

// Each decode_* takes one group as it lies in the file and writes its group_values values.

void decode_q4_0(const Byte* group, float* out) {
  const float d = half_at(group);
  const Byte* values = group + 2;
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((values[i] & 15) - 8);
    out[i + 16] = d * static_cast<float>((values[i] >> 4) - 8);
  }
}

void decode_q4_1(const Byte* group, float* out) {
  const float d = half_at(group);
  const float m = half_at(group + 2);
  const Byte* values = group + 4;
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(values[i] & 15) + m;
    out[i + 16] = d * static_cast<float>(values[i] >> 4) + m;
  }
}

// The five-bit value i of a group: four bits among the nibbles, the fifth in the 32-bit `high`.
int five_bits(const Byte* nibbles, const Byte* high, int i) {
  const int low = i < 16 ? nibbles[i] & 15 : nibbles[i - 16] >> 4;
  return low | (high[i / 8] >> (i % 8) & 1) << 4;
}

void decode_q5_0(const Byte* group, float* out) {
  const float d = half_at(group);
  for (int i = 0; i < 32; ++i) {
    out[i] = d * static_cast<float>(five_bits(group + 6, group + 2, i) - 16);
  }
}

void decode_q5_1(const Byte* group, float* out) {
  const float d = half_at(group);
  const float m = half_at(group + 2);
  for (int i = 0; i < 32; ++i) {
    out[i] = d * static_cast<float>(five_bits(group + 8, group + 4, i)) + m;
  }
}

void decode_q8_0(const Byte* group, float* out) {
  const float d = half_at(group);
  for (int i = 0; i < 32; ++i)
    out[i] = d * static_cast<float>(static_cast<std::int8_t>(group[2 + i]));
}

// The six-bit scale and min of sub-block `s` of a Q4_K or Q5_K group, from its 12 bytes of scales.
struct ScaleMin {
  int scale;
  int min;
};
ScaleMin scale_min(const Byte* scales, int s) {
  if (s < 4) return {scales[s] & 63, scales[s + 4] & 63};
  return {(scales[s + 4] & 15) | scales[s - 4] >> 6 << 4, scales[s + 4] >> 4 | scales[s] >> 6 << 4};
}

void decode_q4_k(const Byte* group, float* out) {
  const float d = half_at(group);
  const float dmin = half_at(group + 2);
  const Byte* values = group + 16;
  for (int i = 0; i < 256; ++i) {
    const int s = i / 32;
    const ScaleMin sm = scale_min(group + 4, s);
    const int q = values[s / 2 * 32 + i % 32] >> (s % 2 * 4) & 15;
    out[i] = d * static_cast<float>(sm.scale) * static_cast<float>(q) -
             dmin * static_cast<float>(sm.min);
  }
}

void decode_q5_k(const Byte* group, float* out) {
  const float d = half_at(group);
  const float dmin = half_at(group + 2);
  const Byte* high = group + 16;
  const Byte* values = group + 48;
  for (int i = 0; i < 256; ++i) {
    const int s = i / 32;
    const ScaleMin sm = scale_min(group + 4, s);
    const int low = values[s / 2 * 32 + i % 32] >> (s % 2 * 4) & 15;
    const int q = low | (high[i % 32] >> s & 1) << 4;
    out[i] = d * static_cast<float>(sm.scale) * static_cast<float>(q) -
             dmin * static_cast<float>(sm.min);
  }
}

// Values of Q6_K, Q3_K and Q2_K come in two halves of 128; a half holds four runs of 32.
void decode_q6_k(const Byte* group, float* out) {
  const Byte* low = group;
  const Byte* high = group + 128;
  const Byte* scales = group + 192;
  const float d = half_at(group + 208);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128;
    const int run = i / 32 % 4;
    const int at = i % 32;
    const int nibble = low[half * 64 + run % 2 * 32 + at] >> (run / 2 * 4) & 15;
    const int pair = high[half * 32 + at] >> (run * 2) & 3;
    const int scale = static_cast<std::int8_t>(scales[i / 16]);
    out[i] = d * static_cast<float>(scale) * static_cast<float>((nibble | pair << 4) - 32);
  }
}

void decode_q2_k(const Byte* group, float* out) {
  const Byte* scales = group;
  const Byte* values = group + 16;
  const float d = half_at(group + 80);
  const float dmin = half_at(group + 82);
  for (int i = 0; i < 256; ++i) {
    const int q = values[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
    const int scale = scales[i / 16];
    out[i] = d * static_cast<float>(scale & 15) * static_cast<float>(q) -
             dmin * static_cast<float>(scale >> 4);
  }
}

void decode_q3_k(const Byte* group, float* out) {
  const Byte* high = group;
  const Byte* values = group + 32;
  const Byte* scales = group + 96;
  const float d = half_at(group + 108);
  for (int i = 0; i < 256; ++i) {
    const int pair = values[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
    const int q = pair | (high[i % 32] >> (i / 32) & 1) << 2;
    const int s = i / 16;
    const int scale_low = scales[s % 8] >> (s / 8 * 4) & 15;
    const int scale_high = scales[8 + s % 4] >> (s / 4 * 2) & 3;
    const int scale = (scale_low | scale_high << 4) - 32;
    out[i] = d * static_cast<float>(scale) * static_cast<float>(q - 4);
  }
}

void decode_group(DType type, const Byte* group, float* out) {
  switch (type) {
    case DType::kF32:
      std::memcpy(out, group, sizeof(float));
      return;
    case DType::kF16:
      *out = half_at(group);
      return;
    case DType::kBF16: {
      std::uint16_t bits;
      std::memcpy(&bits, group, sizeof(bits));
      *out = bfloat16_to_float(bits);
      return;
    }
    case DType::kQ4_0:
      return decode_q4_0(group, out);
    case DType::kQ4_1:
      return decode_q4_1(group, out);
    case DType::kQ5_0:
      return decode_q5_0(group, out);
    case DType::kQ5_1:
      return decode_q5_1(group, out);
    case DType::kQ8_0:
      return decode_q8_0(group, out);
    case DType::kQ2_K:
      return decode_q2_k(group, out);
    case DType::kQ3_K:
      return decode_q3_k(group, out);
    case DType::kQ4_K:
      return decode_q4_k(group, out);
    case DType::kQ5_K:
      return decode_q5_k(group, out);
    case DType::kQ6_K:
      return decode_q6_k(group, out);
  }
  throw Error(ErrorKind::kInternal, text("no decoder for type ", static_cast<int>(type)));
}

}  // namespace

float half_to_float(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000u) << 16;
  const std::uint32_t exponent = bits >> 10 & 31;
  const std::uint32_t fraction = bits & 0x3ff;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | fraction << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
  const float magnitude = static_cast<float>(fraction) * 0x1p-24f;  // subnormal, exact
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
}

std::uint16_t float_to_half(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000);
  const std::uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;   // NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00;  // 65520 and more round to infinity
  if (magnitude < 0x38800000) {
    // Below 2^-14 a half counts in steps of 2^-24; adding 0.5 makes f32 round to that step.
    const float stepped = std::bit_cast<float>(magnitude) + 0.5f;
    return sign | static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(stepped) - 0x3f000000);
  }
  const std::uint32_t even = magnitude >> 13 & 1;
  return sign | static_cast<std::uint16_t>((magnitude + 0xfff + even - (112u << 23)) >> 13);
}

std::uint16_t float_to_bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void decode_row(DType type, const std::byte* row, std::size_t columns, float* out) {
  const DTypeInfo& info = dtype_info(type);
  const std::byte* end = row + row_bytes(type, columns);
  for (; row != end; row += info.group_bytes, out += info.group_values) {
    decode_group(type, reinterpret_cast<const Byte*>(row), out);
  }
}

}  // namespace sluice
