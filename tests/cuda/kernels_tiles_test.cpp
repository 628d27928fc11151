// Products of more tokens: both factors as plain tiles, and what is multiplied by tensor cores.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "layers/cuda/kernels.h"
#include "memory/quant.h"
#include "tests/cuda/kernels_matrices.h"

using namespace sluice;
using namespace sluice::testing;

namespace {

float rounded(TileType type, float value) {
  switch (type) {
    case TileType::kF16:
      return half_to_float(float_to_half(value));
    case TileType::kBf16:
      return std::bit_cast<float>(std::uint32_t{float_to_bfloat16(value)} << 16);
    case TileType::kF32:
      return value;
  }
  return NAN;
}

float tile_value(TileType type, const std::byte* tile, std::size_t i) {
  std::uint16_t bits = 0;
  switch (type) {
    case TileType::kF16:
      std::memcpy(&bits, tile + 2 * i, sizeof(bits));
      return half_to_float(bits);
    case TileType::kBf16:
      std::memcpy(&bits, tile + 2 * i, sizeof(bits));
      return std::bit_cast<float>(std::uint32_t{bits} << 16);
    case TileType::kF32:
      float value = 0.0f;
      std::memcpy(&value, tile + 4 * i, sizeof(value));
      return value;
  }
  return NAN;
}

// Half of the distance between neighbours, in a value's own size.
double half_step(TileType type) {
  return type == TileType::kF16    ? std::exp2(-11)
         : type == TileType::kBf16 ? std::exp2(-8)
                                   : std::exp2(-24);
}

std::vector<TileType> tile_types(DType type) {
  if (is_quantised(type)) return {TileType::kF16, TileType::kF32};
  return {TileType::kF16, TileType::kBf16, TileType::kF32};
}

// A product of many tokens and all it was given, with the weights' tile of `tile_panels` panels.
void check_many_tokens(ProductKind kind, Precision precision, std::size_t rows, std::size_t columns,
                       std::size_t tokens, std::size_t tile_panels) {
  CAPTURE(rows);
  CAPTURE(columns);
  CAPTURE(tokens);
  TestGpu gpu;
  const TestMatrix weights(kind.type, rows, columns, 5);
  const TestActivations in(kind.form, tokens, columns, 6);
  const ProductTruth truth(weights, in);
  const TestActivations other_in(kind.form, tokens, columns, 7);
  const ProductTruth other_truth(weights, other_in);
  const TileType tile = tile_type(kind.type, precision);
  const std::size_t row_bytes = columns * tile_value_bytes(tile);
  gpu.lend({.weight_tile_bytes = tile_panels * kPanelRows * row_bytes + 40,
            .activation_tile_bytes = tokens * row_bytes,
            .blas_bytes = 64_KiB},
           precision);
  const std::size_t stride = rows + 5;
  DeviceArray<float> out(tokens * stride);
  for (const bool accumulate : {false, true}) {
    CAPTURE(accumulate);
    constexpr float kBefore = 2.0f;
    out.fill(kBefore);
    const ProductArgs args{kind.type, weights.panels.data(),
                           rows,      columns,
                           kind.form, in.row(0),
                           tokens,    out.data(),
                           stride,    accumulate};
    // The second takes the first's activations as they lie in their tile, the third has its own.
    DeviceArray<float> again(tokens * stride);
    DeviceArray<float> other(tokens * stride);
    ProductArgs second = args;
    second.out = again.data();
    second.accumulate = false;
    ProductArgs third = second;
    third.in = other_in.row(0);
    third.out = other.data();
    gpu.run([&](Ops& ops, Stream& stream) { ops.product(stream, {{args, second, third}, 3}); });
    double worst = 0.0;
    bool outside_untouched = true;
    for (std::size_t i = 0; i < out.size(); ++i) {
      if (i % stride >= rows) {
        outside_untouched &= out[i] == kBefore && std::isnan(again[i]) && std::isnan(other[i]);
        continue;
      }
      const std::size_t at = i / stride * rows + i % stride;
      const double before = accumulate ? kBefore : 0.0;
      for (const double relative :
           {(out[i] - before - truth.values[at]) / (truth.sizes[at] + before),
            (again[i] - truth.values[at]) / truth.sizes[at],
            (other[i] - other_truth.values[at]) / other_truth.sizes[at]}) {
        worst = std::isnan(relative) ? INFINITY : std::max(worst, std::abs(relative));
      }
    }
    CHECK(outside_untouched);
    CHECK(worst < 2.1 * half_step(tile) + 1e-6);
  }
}

}  // namespace

TEST_CASE("kernels: weights decode into tiles of every type, to that type's rounding") {
  TestGpu gpu;
  for (const DType type : kAllDTypes) {
    for (const TileType tile_type : tile_types(type)) {
      CAPTURE(dtype_info(type).name);
      CAPTURE(static_cast<int>(tile_type));
      const std::vector<std::size_t> widths = is_quantised(type)
                                                  ? std::vector<std::size_t>{32, 288, 544}
                                                  : std::vector<std::size_t>{2, 16, 34, 260};
      for (std::size_t columns : widths) {
        columns = align_up(columns, dtype_info(type).group_values);
        for (const std::size_t rows : {1, 16, 35}) {
          CAPTURE(columns);
          CAPTURE(rows);
          const TestMatrix weights(type, rows, columns, 3);
          const std::size_t tile_rows = align_up(rows, kPanelRows);
          DeviceArray<std::byte> tile(tile_rows * columns * tile_value_bytes(tile_type));
          in_each_order([&] {
            tile.clear();
            tile_weights(gpu.handle(), type, weights.panels.data(), rows, columns, tile_type,
                         tile.data());
            gpu.run([](Ops&, Stream&) {});
            bool same = true;
            bool rest_is_zero = true;
            for (std::size_t i = 0; i < tile_rows * columns; ++i) {
              const float got = tile_value(tile_type, tile.data(), i);
              if (i < rows * columns) {
                same &= got == rounded(tile_type, weights.values[i]);
              } else {
                rest_is_zero &= got == 0.0f;
              }
            }
            CHECK(same);
            CHECK(rest_is_zero);
          });
        }
      }
    }
  }
}

TEST_CASE("kernels: activations of every form become tiles of every type") {
  TestGpu gpu;
  for (const ActivationForm form : {ActivationForm::kF32, ActivationForm::kBf16,
                                    ActivationForm::kInt8, ActivationForm::kInt16}) {
    for (const TileType type : {TileType::kF16, TileType::kBf16, TileType::kF32}) {
      const bool groups = form == ActivationForm::kInt8 || form == ActivationForm::kInt16;
      for (const std::size_t columns : {groups ? 32 : 17, 256, 288}) {
        CAPTURE(static_cast<int>(form));
        CAPTURE(static_cast<int>(type));
        CAPTURE(columns);
        const TestActivations in(form, 3, columns, 4);
        DeviceArray<std::byte> tile(3 * columns * tile_value_bytes(type));
        in_each_order([&] {
          tile.clear();
          tile_activations(gpu.handle(), form, in.row(0), 3, columns, type, tile.data());
          gpu.run([](Ops&, Stream&) {});
          bool same = true;
          for (std::size_t i = 0; i < 3 * columns; ++i) {
            const float divisor = type == TileType::kF16 ? kHalfTileScale : 1.0f;
            const float wanted = rounded(type, static_cast<float>(in.values[i]) / divisor);
            same &= tile_value(type, tile.data(), i) == wanted;
          }
          CHECK(same);
        });
      }
    }
  }
}

TEST_CASE("kernels: activations too large for a half saturate, and NaN stays NaN") {
  TestGpu gpu;
  const std::vector<float> in = {1e6f, -1e6f, 3e6f, -3e6f, INFINITY, -INFINITY, NAN, 0.0f};
  DeviceArray<float> row(in);
  DeviceArray<std::byte> tile(2 * in.size());
  tile_activations(gpu.handle(), ActivationForm::kF32, reinterpret_cast<std::byte*>(row.data()), 1,
                   in.size(), TileType::kF16, tile.data());
  gpu.run([](Ops&, Stream&) {});
  const auto got = [&](std::size_t i) { return tile_value(TileType::kF16, tile.data(), i); };
  CHECK(got(0) == 62496.0f);  // a half's nearest to 62500
  CHECK(got(1) == -62496.0f);
  for (const std::size_t i : {2, 4}) CHECK(got(i) == 65504.0f);
  for (const std::size_t i : {3, 5}) CHECK(got(i) == -65504.0f);
  CHECK(std::isnan(got(6)));
  CHECK(got(7) == 0.0f);
}

TEST_CASE("kernels: products of many tokens are right, in one tile of weights or in several") {
  for (const ProductKind kind : product_kinds()) {
    const bool high = kind.form == ActivationForm::kInt16 || kind.form == ActivationForm::kF32;
    const Precision precision = high ? Precision::kHigh : Precision::kNormal;
    CAPTURE(dtype_info(kind.type).name);
    CAPTURE(static_cast<int>(kind.form));
    in_each_order([&] {
      const std::size_t group = dtype_info(kind.type).group_values;
      check_many_tokens(kind, precision, 53, align_up(std::size_t{96}, group), 17, 1);
      check_many_tokens(kind, precision, 40, align_up(std::size_t{288}, group), 70, 2);
      check_many_tokens(kind, precision, 16, align_up(std::size_t{64}, group), 33, 4);
    });
  }
}

TEST_CASE("kernels: where tensor cores lack BF16, halves take its place") {
  TestGpu gpu({.compute_major = 7, .compute_minor = 5});
  constexpr std::size_t kTokens = 20;
  constexpr std::size_t kColumns = 66;
  const TestMatrix weights(DType::kBF16, 18, kColumns, 5);
  const TestActivations in(ActivationForm::kBf16, kTokens, kColumns, 6);
  const ProductTruth truth(weights, in);
  gpu.lend({.weight_tile_bytes = kPanelRows * kColumns * 2,
            .activation_tile_bytes = kTokens * kColumns * 2,
            .blas_bytes = 64_KiB},
           Precision::kNormal);
  DeviceArray<float> out(kTokens * 18);
  const ProductArgs args{DType::kBF16, weights.panels.data(),
                         18,           kColumns,
                         in.form,      in.row(0),
                         kTokens,      out.data(),
                         18,           false};
  gpu.run([&](Ops& ops, Stream& stream) { ops.product(stream, {{args}, 1}); });
  double worst = 0.0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    worst = std::max(worst, std::abs(out[i] - truth.values[i]) / truth.sizes[i]);
  }
  // BF16's values are halves but for the smallest: no rounding is left.
  CHECK(worst < 1e-5);
}
