// Products of 1 to 16 tokens, against sums in double precision of what they were given.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "tests/cuda/kernels_matrices.h"

using namespace sluice;
using namespace sluice::testing;

namespace {

constexpr float kBefore = 3.0f;
constexpr double kRounding = 1e-5;  // of f32 sums, in what is summed up
constexpr std::size_t kGap = 3;     // columns of out that are another's

// One product of a batch: its factors, its truth, and its output's place.
struct Case {
  Case(ProductKind kind, std::size_t rows, std::size_t columns, std::uint32_t seed)
      : weights(kind.type, rows, columns, seed),
        in(kind.form, kFewTokens, columns, seed + 1),
        truth(weights, in),
        stride(rows + kGap),
        out(kFewTokens * stride) {}

  ProductArgs args(std::size_t tokens, bool accumulate, std::size_t first_token = 0) const {
    return {weights.type, weights.panels.data(),
            weights.rows, weights.columns,
            in.form,      in.row(first_token),
            tokens,       out.data(),
            stride,       accumulate};
  }
  std::vector<float> row(std::size_t token) const {
    const float* begin = out.data() + token * stride;
    return {begin, begin + weights.rows};
  }

  // All that was to be written is right, and nothing else is written.
  void check(std::size_t tokens, bool accumulate) const {
    CAPTURE(weights.rows);
    CAPTURE(weights.columns);
    CAPTURE(accumulate);
    double worst = 0.0;
    bool outside_untouched = true;
    for (std::size_t i = 0; i < out.size(); ++i) {
      const std::size_t token = i / stride;
      const std::size_t row = i % stride;
      if (token >= tokens || row >= weights.rows) {
        outside_untouched &= out[i] == kBefore;
        continue;
      }
      const std::size_t at = token * weights.rows + row;
      const double before = accumulate ? kBefore : 0.0;
      const double error = std::abs(out[i] - before - truth.values[at]);
      const double relative = error / (truth.sizes[at] + before + 1e-30);
      worst = std::isnan(relative) ? INFINITY : std::max(worst, relative);
    }
    CHECK(outside_untouched);
    CHECK(worst < kRounding);
  }

  TestMatrix weights;
  TestActivations in;
  ProductTruth truth;
  std::size_t stride;
  DeviceArray<float> out;
};

using Cases = std::vector<std::unique_ptr<Case>>;

Cases make_cases(ProductKind kind,
                 std::initializer_list<std::pair<std::size_t, std::size_t>> sizes) {
  Cases cases;
  for (const auto& [rows, columns] : sizes) {
    const std::size_t group = dtype_info(kind.type).group_values;
    const std::size_t width = is_quantised(kind.type)     ? align_up(columns, group)
                              : kind.type == DType::kBF16 ? align_up(columns, 2)
                                                          : columns;
    cases.push_back(std::make_unique<Case>(kind, rows, width, static_cast<unsigned>(rows + width)));
  }
  return cases;
}

// Of all cases in one call. Every other product accumulates.
void run_batch(TestGpu& gpu, const Cases& cases, std::size_t tokens, bool first_accumulates) {
  ProductBatch batch;
  for (const auto& each : cases) {
    each->out.fill(kBefore);
    const bool accumulate = (batch.count % 2 == 0) == first_accumulates;
    batch.products[batch.count++] = each->args(tokens, accumulate);
  }
  gpu.run([&](Ops& ops, Stream& stream) { ops.product(stream, batch); });
  for (std::size_t i = 0; i < cases.size(); ++i) {
    cases[i]->check(tokens, (i % 2 == 0) == first_accumulates);
  }
}

}  // namespace

TEST_CASE("kernels: products of few tokens are right for every type, form, shape and order") {
  TestGpu gpu;
  for (const ProductKind kind : product_kinds()) {
    CAPTURE(dtype_info(kind.type).name);
    CAPTURE(static_cast<int>(kind.form));
    // 544 columns are 17 groups, one more than slices; 17 rows are two panels.
    const Cases quantised = make_cases(kind, {{17, 544}, {5, 32}, {32, 288}});
    const Cases narrow = make_cases(kind, {{16, 64}, {33, 96}});
    in_each_order([&] {
      for (const std::size_t tokens : {1, 2, 3, 5, 8, 16}) {
        CAPTURE(tokens);
        run_batch(gpu, quantised, tokens, tokens % 2 == 0);
        run_batch(gpu, narrow, tokens, tokens % 2 == 1);
      }
    });
  }
}

TEST_CASE("kernels: products of few tokens with float weights are right for any width") {
  TestGpu gpu;
  for (const ProductKind kind : product_kinds()) {
    if (is_quantised(kind.type)) continue;
    CAPTURE(dtype_info(kind.type).name);
    CAPTURE(static_cast<int>(kind.form));
    const Cases odd = make_cases(kind, {{1, 1}, {15, 3}, {17, 31}});
    const Cases wide = make_cases(kind, {{7, 127}, {16, 130}, {20, 201}});
    in_each_order([&] {
      for (const std::size_t tokens : {1, 4, 7, 16}) {
        CAPTURE(tokens);
        run_batch(gpu, odd, tokens, tokens % 2 == 0);
        run_batch(gpu, wide, tokens, tokens % 2 == 1);
      }
    });
  }
}

TEST_CASE("kernels: products of few tokens are right for every number of tokens, rows and columns" *
          doctest::test_suite("slow")) {
  TestGpu gpu;
  for (const ProductKind kind : product_kinds()) {
    CAPTURE(dtype_info(kind.type).name);
    CAPTURE(static_cast<int>(kind.form));
    for (const std::size_t columns : {32, 96, 288, 512, 1056}) {
      const Cases cases = make_cases(kind, {{15, columns}, {50, columns}, {1, columns}});
      in_each_order([&] {
        for (std::size_t tokens = 1; tokens <= kFewTokens; ++tokens) {
          CAPTURE(tokens);
          run_batch(gpu, cases, tokens, tokens % 2 == 0);
        }
      });
    }
  }
}

TEST_CASE("kernels: a token's product has the same bits for every number of tokens in a call") {
  TestGpu gpu;
  for (const ProductKind kind : product_kinds()) {
    CAPTURE(dtype_info(kind.type).name);
    CAPTURE(static_cast<int>(kind.form));
    const Cases cases = make_cases(kind, {{18, 800}});
    const Case& one = *cases.front();
    const auto run = [&](const ProductArgs& args) {
      gpu.run([&](Ops& ops, Stream& stream) { ops.product(stream, {{args}, 1}); });
    };
    std::vector<std::vector<float>> alone;
    for (std::size_t t = 0; t < kFewTokens; ++t) {
      run(one.args(1, false, t));
      alone.push_back(one.row(0));
    }
    for (std::size_t tokens = 2; tokens <= kFewTokens; ++tokens) {
      CAPTURE(tokens);
      run(one.args(tokens, false));
      for (std::size_t t = 0; t < tokens; ++t) CHECK(same_bits(one.row(t), alone[t]));
    }
  }
}

TEST_CASE("kernels: products of different kinds in one call don't meet") {
  TestGpu gpu;
  in_each_order([&] {
    for (const std::size_t tokens : {1, 6}) {
      Cases cases = make_cases({DType::kQ4_K, ActivationForm::kInt8}, {{19, 256}});
      for (const ProductKind other : {ProductKind{DType::kQ6_K, ActivationForm::kInt8},
                                      ProductKind{DType::kQ4_K, ActivationForm::kInt8}}) {
        cases.push_back(std::move(make_cases(other, {{33, 512}}).front()));
      }
      run_batch(gpu, cases, tokens, true);
    }
  });
}

TEST_CASE("kernels: the largest weights and activations stay exact in products") {
  TestGpu gpu;
  for (const ProductKind kind : product_kinds()) {
    if (!is_quantised(kind.type)) continue;
    CAPTURE(dtype_info(kind.type).name);
    CAPTURE(static_cast<int>(kind.form));
    for (const int byte : {0x00, 0x7f, 0x80, 0xff}) {
      CAPTURE(byte);
      constexpr std::size_t kColumns = 512;
      Case extreme(kind, 16, kColumns, 1);
      std::vector<std::byte> rows(16 * row_bytes(kind.type, kColumns),
                                  static_cast<std::byte>(byte));
      for (std::size_t g = 0; g < rows.size(); g += dtype_info(kind.type).group_bytes) {
        for (const std::size_t at : halves_at(kind.type)) {
          const std::uint16_t bits = float_to_half(at % 4 == 0 ? 0.5f : 0.25f);
          std::memcpy(&rows[g + at], &bits, sizeof(bits));
        }
      }
      const std::vector<std::byte> panels = pack_rows(kind.type, rows, 16, kColumns);
      std::copy(panels.begin(), panels.end(), extreme.weights.panels.data());
      for (std::size_t row = 0; row < 16; ++row) {
        decode_packed_row(kind.type, panels.data(), row, kColumns,
                          &extreme.weights.values[row * kColumns]);
      }
      std::vector<float> in(kColumns);
      for (std::size_t t = 0; t < 3; ++t) {
        for (std::size_t c = 0; c < kColumns; ++c) {
          in[c] = t == 0 ? 1.0f : t == 1 ? -1.0f : c % 2 == 0 ? 1.0f : -0.992f;
        }
        std::byte* row = extreme.in.bytes.data() + t * extreme.in.row_bytes;
        convert_activations(kind.form, in.data(), kColumns, row);
        for (std::size_t c = 0; c < kColumns; ++c) {
          extreme.in.values[t * kColumns + c] = activation_value(kind.form, row, c);
        }
      }
      extreme.truth = ProductTruth(extreme.weights, extreme.in);
      extreme.out.fill(kBefore);
      const ProductArgs args = extreme.args(3, false);
      gpu.run([&](Ops& ops, Stream& stream) { ops.product(stream, {{args}, 1}); });
      extreme.check(3, false);
    }
  }
}
