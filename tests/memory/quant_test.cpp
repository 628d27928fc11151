#include "memory/quant.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace sluice {
namespace {

std::vector<std::byte> read_data(const std::string& name) {
  std::ifstream file(std::string(SLUICE_SOURCE_DIR) + "/tests/reference/data/quant/" + name,
                     std::ios::binary);
  REQUIRE_MESSAGE(file.good(), name);
  const std::vector<char> chars{std::istreambuf_iterator<char>(file), {}};
  const auto* bytes = reinterpret_cast<const std::byte*>(chars.data());
  return {bytes, bytes + chars.size()};
}

double half_value(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const int fraction = bits & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

// --- Every type

TEST_CASE("quant: every type decodes to the very bits the reference package gives") {
  constexpr std::size_t kRows = 2;
  constexpr std::size_t kColumns = 512;
  for (const DType type : kAllDTypes) {
    const std::string name(dtype_info(type).name);
    CAPTURE(name);
    const auto rows = read_data(name + ".bin");
    const auto truth = read_data(name + ".f32");
    REQUIRE(rows.size() == kRows * row_bytes(type, kColumns));
    REQUIRE(truth.size() == kRows * kColumns * sizeof(float));
    std::vector<std::uint32_t> decoded(kRows * kColumns);
    for (std::size_t row = 0; row < kRows; ++row) {
      decode_row(type, rows.data() + row * row_bytes(type, kColumns), kColumns,
                 reinterpret_cast<float*>(decoded.data()) + row * kColumns);
    }
    for (std::size_t i = 0; i < decoded.size(); ++i) {
      std::uint32_t bits;
      std::memcpy(&bits, truth.data() + i * sizeof(bits), sizeof(bits));
      CAPTURE(i);
      REQUIRE(decoded[i] == bits);
    }
  }
}

// --- Halves

TEST_CASE("quant: each of the 65,536 halves means what IEEE 754 says, and comes back") {
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    const float value = half_to_float(bits);
    CAPTURE(i);
    REQUIRE(std::signbit(value) == (bits >= 0x8000));
    if ((bits & 0x7c00) != 0x7c00) {
      REQUIRE(static_cast<double>(value) == half_value(bits));
    } else if ((bits & 0x3ff) == 0) {
      REQUIRE(std::isinf(value));
    } else {
      REQUIRE(std::isnan(value));
      REQUIRE((float_to_half(value) & 0x7fff) > 0x7c00);
      continue;
    }
    REQUIRE(float_to_half(value) == bits);
  }
}

TEST_CASE("quant: float_to_half picks the nearest half, the even one of two") {
  std::mt19937 random(1);
  std::vector<float> values = {0.0f, 1e-9f, 0x1p-25f, 0x1.000002p-25f, 65519.0f, 65504.0f, 1e-40f};
  for (std::uint32_t bits = 0; bits < 0x7bff; bits += 7) {  // ties between neighbours
    values.push_back(static_cast<float>((half_value(static_cast<std::uint16_t>(bits)) +
                                         half_value(static_cast<std::uint16_t>(bits + 1))) /
                                        2));
  }
  for (int i = 0; i < 100000; ++i) {
    const auto fraction = static_cast<std::uint32_t>(random() & 0x7fffff);
    const auto exponent = static_cast<std::uint32_t>(127 - 30 + random() % 46);
    values.push_back(std::bit_cast<float>(exponent << 23 | fraction));
  }
  for (const float value : values) {
    if (value >= 65520.0f) continue;
    CAPTURE(value);
    const std::uint16_t half = float_to_half(value);
    REQUIRE(half <= 0x7bff);
    const double error = std::abs(half_value(half) - value);
    for (const int step : {-1, 1}) {
      const int neighbour = half + step;
      if (neighbour < 0 || neighbour > 0x7bff) continue;
      const double other = std::abs(half_value(static_cast<std::uint16_t>(neighbour)) - value);
      REQUIRE((error < other || (error == other && half % 2 == 0)));
    }
    REQUIRE(float_to_half(-value) == (half | 0x8000));
  }
  CHECK(float_to_half(65520.0f) == 0x7c00);
  CHECK(float_to_half(-std::numeric_limits<float>::infinity()) == 0xfc00);
}

TEST_CASE("quant: float_to_bfloat16 rounds to the nearest, the even one of two") {
  CHECK(float_to_bfloat16(1.0f) == 0x3f80);
  CHECK(float_to_bfloat16(std::bit_cast<float>(0x3f808000u)) == 0x3f80);  // a tie, down to even
  CHECK(float_to_bfloat16(std::bit_cast<float>(0x3f818000u)) == 0x3f82);  // a tie, up to even
  CHECK(float_to_bfloat16(std::bit_cast<float>(0x3f808001u)) == 0x3f81);
  CHECK(float_to_bfloat16(std::bit_cast<float>(0x3f807fffu)) == 0x3f80);
  CHECK(float_to_bfloat16(-std::numeric_limits<float>::infinity()) == 0xff80);
  CHECK(float_to_bfloat16(std::numeric_limits<float>::max()) == 0x7f80);
  CHECK(std::isnan(bfloat16_to_float(float_to_bfloat16(std::bit_cast<float>(0x7f800001u)))));
}

}  // namespace
}  // namespace sluice
