// The emulation's arithmetic, against definitions.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "tests/cuda/emulation.h"
#include "tests/cuda/emulation_orders.h"

namespace sluice {
namespace {

using emulation::run_grid;
using emulation::testing::for_each_order;

// Loads and stores as a kernel would write them: [16, 16] by [16, 8], all row by row.
__global__ void product_f16_kernel(const __half* a, const __half* b, float* d) {
  const unsigned g = threadIdx.x / 4;
  const unsigned t = threadIdx.x % 4;
  const auto pair = [](__half low, __half high) {
    return static_cast<unsigned>(__half_as_ushort(low)) |
           static_cast<unsigned>(__half_as_ushort(high)) << 16;
  };
  const auto of_a = [&](unsigned row, unsigned k) {
    return pair(a[row * 16 + k], a[row * 16 + k + 1]);
  };
  const auto of_b = [&](unsigned k) { return pair(b[k * 8 + g], b[(k + 1) * 8 + g]); };
  const unsigned rows_a[4] = {of_a(g, 2 * t), of_a(g + 8, 2 * t), of_a(g, 2 * t + 8),
                              of_a(g + 8, 2 * t + 8)};
  const unsigned columns_b[2] = {of_b(2 * t), of_b(2 * t + 8)};
  float sums[4];
  for (unsigned i = 0; i < 4; ++i) sums[i] = d[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
  mma_m16n8k16_f16(sums, rows_a, columns_b);
  for (unsigned i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sums[i];
}

TEST_CASE("emulation: mma_m16n8k16_f16 adds the product of two matrices") {
  std::mt19937 random(7);
  std::uniform_real_distribution<float> uniform(-2, 2);
  std::vector<__half> a(16 * 16);
  std::vector<__half> b(16 * 8);
  std::vector<float> sums(16 * 8);
  for (auto& x : a) x = __float2half_rn(uniform(random));
  for (auto& x : b) x = __float2half_rn(uniform(random));
  for (auto& x : sums) x = uniform(random);
  for_each_order([&] {
    std::vector<float> d = sums;
    run_grid("product", {1, 32}, product_f16_kernel, a.data(), b.data(), d.data());
    for (std::size_t row = 0; row < 16; ++row) {
      for (std::size_t column = 0; column < 8; ++column) {
        double sum = sums[row * 8 + column];
        for (std::size_t k = 0; k < 16; ++k) {
          sum += double{__half2float(a[row * 16 + k])} * double{__half2float(b[k * 8 + column])};
        }
        CHECK(d[row * 8 + column] == doctest::Approx(sum).epsilon(1e-6));
      }
    }
  });
}

// [16, 32] row by row, times [32, 8] column by column: as the products of quantised rows lie.
__global__ void product_s8_kernel(const std::int8_t* a, const std::int8_t* b, int* d) {
  const unsigned g = threadIdx.x / 4;
  const unsigned t = threadIdx.x % 4;
  const auto four = [](const std::int8_t* from) {
    unsigned bits;
    std::memcpy(&bits, from, sizeof bits);
    return bits;
  };
  const unsigned rows_a[4] = {four(a + g * 32 + 4 * t), four(a + (g + 8) * 32 + 4 * t),
                              four(a + g * 32 + 16 + 4 * t), four(a + (g + 8) * 32 + 16 + 4 * t)};
  const unsigned columns_b[2] = {four(b + g * 32 + 4 * t), four(b + g * 32 + 16 + 4 * t)};
  int sums[4] = {1, 2, 3, 4};
  mma_m16n8k32_s8(sums, rows_a, columns_b);
  for (unsigned i = 0; i < 4; ++i) {
    d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sums[i] - static_cast<int>(i) - 1;
  }
}

TEST_CASE("emulation: mma_m16n8k32_s8 gives the exact product of two matrices") {
  std::mt19937 random(8);
  std::vector<std::int8_t> a(16 * 32);
  std::vector<std::int8_t> b(8 * 32);
  for (auto& x : a) x = static_cast<std::int8_t>(random());
  for (auto& x : b) x = static_cast<std::int8_t>(random());
  for_each_order([&] {
    std::vector<int> d(16 * 8);
    run_grid("product", {1, 32}, product_s8_kernel, a.data(), b.data(), d.data());
    for (std::size_t row = 0; row < 16; ++row) {
      for (std::size_t column = 0; column < 8; ++column) {
        int sum = 0;
        for (std::size_t k = 0; k < 32; ++k) sum += a[row * 32 + k] * b[column * 32 + k];
        CHECK(d[row * 8 + column] == sum);
      }
    }
  });
}

__global__ void half_warp_kernel() {
  float d[4] = {};
  const unsigned a[4] = {};
  const unsigned b[2] = {};
  if (threadIdx.x < 16) mma_m16n8k16_f16(d, a, b);
}

TEST_CASE("emulation: half a warp can't use the tensor cores") {
  emulation::clear_violations();
  run_grid("half a warp", {1, 32}, half_warp_kernel);
  const auto found = emulation::violations();
  REQUIRE(found.size() == 1);
  CHECK(found[0].find("mma_m16n8k16_f16") != std::string::npos);
  emulation::clear_violations();
}

TEST_CASE("emulation: every half survives a float, and floats go to the nearest") {
  for (unsigned bits = 0; bits < 0x10000; ++bits) {
    const __half half = __ushort_as_half(static_cast<unsigned short>(bits));
    const float value = __half2float(half);
    const unsigned exponent = bits >> 10 & 31;
    const unsigned fraction = bits & 1023;
    if (exponent == 31 && fraction != 0) {
      REQUIRE(std::isnan(value));
      continue;
    }
    float expected = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                   : std::ldexp(static_cast<float>(1024 + fraction),
                                                static_cast<int>(exponent) - 25);
    if (exponent == 31) expected = std::numeric_limits<float>::infinity();
    REQUIRE(value == (bits < 0x8000 ? expected : -expected));
    REQUIRE(__half_as_ushort(__float2half_rn(value)) == bits);
  }
  CHECK(__half2float(__float2half_rn(2049.0f)) == 2048.0f);  // a tie goes to the even one
  CHECK(__half2float(__float2half_rn(2051.0f)) == 2052.0f);
  const float2 pair = __half22float2(
      __hfma2(__floats2half2_rn(3, -2), __floats2half2_rn(0.5, 4), __floats2half2_rn(1, 1)));
  CHECK(pair.x == 2.5f);
  CHECK(pair.y == -7.0f);
  // Rounded once: a product rounded by itself would leave 6144.
  const __half x = __float2half_rn(1 + 0x3p-10f);
  CHECK(__half2float(__hfma(x, x, __float2half_rn(-1))) == 6152 * 0x1p-20f);
  CHECK(__bfloat162float(__float2bfloat16_rn(1 + 0x1p-8f)) == 1.0f);
}

TEST_CASE("emulation: bits and integers are what CUDA's manual says") {
  CHECK(__dp4a(0x01FF7F80, 0x02FE7F80, 5) == 5 + 2 + 2 + 127 * 127 + 128 * 128);
  CHECK(__dp4a(0x01FF7F80u, 0x02FE7F80u, 5u) == 5 + 2 + 255 * 254 + 127 * 127 + 128 * 128);
  CHECK(__byte_perm(0x33221100, 0x77665544, 0x7250) == 0x77225500);
  CHECK(__popc(0xF0F0F001) == 13);
  CHECK(__clz(0) == 32);
  CHECK(__clz(0x00010000) == 15);
  CHECK(__ffs(0) == 0);
  CHECK(__ffs(0x00010000) == 17);
  CHECK(__brev(0x80000006) == 0x60000001);
  CHECK(__funnelshift_r(0x89ABCDEF, 0x01234567, 8) == 0x6789ABCD);
  CHECK(__funnelshift_l(0x89ABCDEF, 0x01234567, 8) == 0x23456789);
  CHECK(__float2int_rn(2.5f) == 2);
  CHECK(__float2int_rn(-3.5f) == -4);
  CHECK(__float2int_rn(1e20f) == std::numeric_limits<int>::max());
  CHECK(__float2int_rn(std::nanf("")) == 0);
  CHECK(__float_as_uint(1.0f) == 0x3F800000);
  CHECK(rsqrtf(4.0f) == 0.5f);
  CHECK(exp2f(10.0f) == 1024.0f);
  CHECK(__expf(1.0f) == doctest::Approx(2.718281828));
  CHECK(fmaxf(std::nanf(""), 1.0f) == 1.0f);
  CHECK(min(3, -2) == -2);
  CHECK(max(3u, 7u) == 7u);
  CHECK(__fdividef(1.0f, 4.0f) == 0.25f);
}

}  // namespace
}  // namespace sluice
