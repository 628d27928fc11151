// Group layouts of the quantised formats as GGUF files hold them, each with a plain decoder.
//
// These are the referees: one value at a time, straight from the format's definition (the ggml
// block layouts). Kernels never call them; tests hold every kernel and the packing against them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "memory/dtype.h"

namespace sluice {

float half_to_float(std::uint16_t bits);
std::uint16_t float_to_half(float value);  // round to nearest even
inline float bfloat16_to_float(std::uint16_t bits) {
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(bits) << 16);
}
std::uint16_t float_to_bfloat16(float value);  // round to nearest even

// Decodes `columns` values of one file row into `out`. `columns` is a multiple of group_values.
void decode_row(DType type, const std::byte* row, std::size_t columns, float* out);

}  // namespace sluice
