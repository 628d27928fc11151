#include "layers/products.h"

#include <doctest/doctest.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "layers/isa.h"
#include "tests/support/random_weights.h"

namespace sluice {
namespace {

constexpr std::size_t kColumns = 512;

// Puts back the best instruction set when a test ends.
struct IsaScope {
  explicit IsaScope(std::string_view name) { force_isa(name); }
  ~IsaScope() { force_isa(isa_names()[0]); }
  IsaScope(const IsaScope&) = delete;
  IsaScope& operator=(const IsaScope&) = delete;
};

// A matrix and activations, as the product takes them and as plain numbers.
struct Case {
  DType type;
  std::size_t rows;
  std::size_t tokens;
  std::size_t columns;
  std::vector<std::byte> panels;
  std::vector<float> weights;  // [rows, columns]
  std::vector<float> in;       // [tokens, columns]
  ActivationForm form;
  std::vector<std::byte> form_in;  // the same in the form that the product takes

  Case(DType type_, Precision precision, std::size_t rows_, std::size_t tokens_,
       std::size_t columns_ = kColumns)
      : Case(type_, precision, rows_, tokens_, columns_, random_rows(type_, rows_, columns_, 7),
             random_floats(tokens_ * columns_, 8)) {}

  Case(DType type_, Precision precision, std::size_t rows_, std::size_t tokens_,
       std::size_t columns_, const std::vector<std::byte>& file_rows, std::vector<float> in_)
      : type(type_),
        rows(rows_),
        tokens(tokens_),
        columns(columns_),
        in(std::move(in_)),
        form(activation_form(type_, precision)) {
    panels = pack_rows(type, file_rows, rows, columns);
    weights.resize(rows * columns);
    for (std::size_t row = 0; row < rows; ++row) {
      decode_row(type, file_rows.data() + row * row_bytes(type, columns), columns,
                 &weights[row * columns]);
    }
    convert();
  }

  void convert() {
    form_in.resize(tokens * activation_row_bytes(form, columns));
    for (std::size_t t = 0; t < tokens; ++t) {
      std::byte* row = form_in.data() + t * activation_row_bytes(form, columns);
      if (form == ActivationForm::kF32) {
        std::memcpy(row, &in[t * columns], columns * sizeof(float));
      } else {
        convert_activations(form, &in[t * columns], columns, row);
      }
    }
  }

  ProductArgs args(float* out) const {
    return {type, panels.data(), rows, columns, form, form_in.data(), tokens, out, rows, false};
  }

  std::vector<float> run() const {
    std::vector<float> out(tokens * rows);
    product(args(out.data()));
    return out;
  }
};

struct Kind {
  DType type;
  Precision precision;
};

// Every type with every form of activations that it takes.
std::vector<Kind> kinds() {
  std::vector<Kind> all;
  for (const DType type : kAllDTypes) {
    all.push_back({type, Precision::kNormal});
    if (activation_form(type, Precision::kHigh) == activation_form(type, Precision::kNormal))
      continue;
    all.push_back({type, Precision::kHigh});
  }
  return all;
}

// What activation i of a group stands for.
template <typename Group>
int integer(const Group& group, std::size_t i) {
  if constexpr (sizeof(Group) == sizeof(Int16Group)) return 128 * group.high[i] + group.low[i];
  return group.high[i];
}
template <typename Group>
double group_value(const std::byte* in, std::size_t i) {
  const auto& group = reinterpret_cast<const Group*>(in)[i / kActivationGroup];
  return static_cast<double>(group.scale) * integer(group, i % kActivationGroup);
}
double form_value(ActivationForm form, const std::byte* in, std::size_t i) {
  switch (form) {
    case ActivationForm::kF32:
      return reinterpret_cast<const float*>(in)[i];
    case ActivationForm::kBf16:
      return std::bit_cast<float>(std::uint32_t{reinterpret_cast<const std::uint16_t*>(in)[i]}
                                  << 16);
    case ActivationForm::kInt8:
      return group_value<Int8Group>(in, i);
    case ActivationForm::kInt16:
      return group_value<Int16Group>(in, i);
  }
  return 0.0;
}

// The most that a form's rounding may add to a sum, of the sum's size.
double rounding_of(ActivationForm form) {
  switch (form) {
    case ActivationForm::kInt8:
      return 3e-2;
    case ActivationForm::kBf16:
      return 1e-2;
    default:
      return 3e-4;
  }
}

struct Truth {
  double value = 0;      // of the activations as given
  double converted = 0;  // of the activations in the form that the product takes
  double size = 0;       // sqrt of the sum of squares of all products: what rounding goes by
};

std::vector<Truth> truth_of(const Case& c) {
  std::vector<double> converted(c.in.size());
  for (std::size_t i = 0; i < converted.size(); ++i) {
    const std::size_t row = i / c.columns * activation_row_bytes(c.form, c.columns);
    converted[i] = form_value(c.form, c.form_in.data() + row, i % c.columns);
  }
  std::vector<Truth> all(c.tokens * c.rows);
  for (std::size_t t = 0; t < c.tokens; ++t) {
    for (std::size_t r = 0; r < c.rows; ++r) {
      Truth& truth = all[t * c.rows + r];
      for (std::size_t i = 0; i < c.columns; ++i) {
        const double weight = c.weights[r * c.columns + i];
        const double in = c.in[t * c.columns + i];
        truth.value += weight * in;
        truth.converted += weight * converted[t * c.columns + i];
        truth.size += weight * in * weight * in;
      }
      truth.size = std::sqrt(truth.size);
    }
  }
  return all;
}

bool same_bits(const float* a, const float* b, std::size_t count) {
  return std::memcmp(a, b, count * sizeof(float)) == 0;
}

// --- Against double precision

TEST_CASE("products: every type, number of tokens, number of rows and instruction set is right") {
  for (const auto [type, precision] : kinds()) {
    const Case whole(type, precision, 100, 64);
    const std::vector<Truth> truth = truth_of(whole);
    for (const std::string_view isa : isa_names()) {
      const IsaScope scope(isa);
      CAPTURE(dtype_info(type).name);
      CAPTURE(isa);
      for (const std::size_t tokens : {1, 2, 3, 4, 5, 6, 7, 8, 12, 17, 64}) {
        for (const std::size_t rows : {1, 15, 16, 17, 100}) {
          for (const bool accumulate : {false, true}) {
            constexpr float kBefore = 3.0f;
            const std::size_t stride = rows + 3;
            std::vector<float> out(tokens * stride, kBefore);
            ProductArgs args = whole.args(out.data());
            args.tokens = tokens;
            args.rows = rows;
            args.out_stride = stride;
            args.accumulate = accumulate;
            product(args);
            double worst = 0;
            double worst_converted = 0;
            bool outside_untouched = true;
            for (std::size_t i = 0; i < out.size(); ++i) {
              if (i % stride >= rows) {
                outside_untouched &= out[i] == kBefore;
                continue;
              }
              const Truth& right = truth[i / stride * whole.rows + i % stride];
              const double got = out[i] - (accumulate ? kBefore : 0);
              worst = std::max(worst, std::abs(got - right.value) / right.size);
              worst_converted =
                  std::max(worst_converted, std::abs(got - right.converted) / right.size);
            }
            CAPTURE(tokens);
            CAPTURE(rows);
            CAPTURE(accumulate);
            REQUIRE(outside_untouched);
            REQUIRE(worst < rounding_of(whole.form));
            REQUIRE(worst_converted < 2e-5);  // f32 sums of exact integers
          }
        }
      }
    }
  }
}

// int8 per 32 columns, in double precision and by another's hand: what peers do to activations.
std::vector<double> int8_per_32(const std::vector<float>& in) {
  std::vector<double> rounded(in.size());
  for (std::size_t begin = 0; begin < in.size(); begin += 32) {
    double largest = 0;
    for (std::size_t i = begin; i < begin + 32; ++i)
      largest = std::max(largest, std::abs(1.0 * in[i]));
    const double step = largest / 127;
    for (std::size_t i = begin; i < begin + 32; ++i)
      rounded[i] = std::nearbyint(in[i] / step) * step;
  }
  return rounded;
}

TEST_CASE("products: of normal precision, no type errs more than int8 per 32 columns must") {
  constexpr std::size_t kRows = 64;
  constexpr std::size_t kTokens = 16;
  for (const DType type : kAllDTypes) {
    const Case c(type, Precision::kNormal, kRows, kTokens, 2048);
    const std::vector<float> out = c.run();
    const std::vector<double> rounded = int8_per_32(c.in);
    double error = 0;
    double allowed = 0;
    for (std::size_t i = 0; i < out.size(); ++i) {
      const float* weights = &c.weights[i % kRows * c.columns];
      const std::size_t token = i / kRows * c.columns;
      double right = 0;
      double peers = 0;
      for (std::size_t k = 0; k < c.columns; ++k) {
        right += static_cast<double>(weights[k]) * c.in[token + k];
        peers += weights[k] * rounded[token + k];
      }
      error += (out[i] - right) * (out[i] - right);
      allowed += (peers - right) * (peers - right);
    }
    const double ratio = std::sqrt(error / allowed);
    CAPTURE(dtype_info(type).name);
    CHECK(ratio < 1.1);
    MESSAGE(dtype_info(type).name << ": error of products, in those of int8 per 32: " << ratio);
  }
}

// Integer sums must not saturate: the largest values of every type against the largest activations.
TEST_CASE("products: extreme weights and activations stay exact") {
  for (const auto [type, precision] : kinds()) {
    if (!is_quantised(type)) continue;
    for (const int byte : {0x00, 0x7f, 0x80, 0xff}) {
      std::vector<std::byte> file_rows(16 * row_bytes(type, kColumns),
                                       static_cast<std::byte>(byte));
      for (std::size_t g = 0; g < file_rows.size(); g += dtype_info(type).group_bytes) {
        for (const std::size_t at : halves_at(type)) {
          const std::uint16_t half = float_to_half(at % 4 == 0 ? 0.5f : 0.25f);
          std::memcpy(&file_rows[g + at], &half, sizeof(half));
        }
      }
      std::vector<float> in(3 * kColumns);
      for (std::size_t i = 0; i < in.size(); ++i) {
        in[i] = i < kColumns ? 1.0f : i < 2 * kColumns ? -1.0f : i % 2 == 0 ? 1.0f : -0.992f;
      }
      const Case c(type, precision, 16, 3, kColumns, file_rows, in);
      const std::vector<Truth> truth = truth_of(c);
      for (const std::string_view isa : isa_names()) {
        const IsaScope scope(isa);
        const std::vector<float> out = c.run();
        CAPTURE(dtype_info(type).name);
        CAPTURE(byte);
        CAPTURE(isa);
        for (std::size_t i = 0; i < out.size(); ++i) {
          CAPTURE(i);
          REQUIRE(std::abs(out[i] - truth[i].converted) <= 1e-5 * truth[i].size);
        }
      }
    }
  }
}

TEST_CASE("products: float matrices of any number of columns are right") {
  for (const DType type : {DType::kF32, DType::kF16}) {
    for (const std::size_t columns : {1, 3, 31, 100}) {
      const Case c(type, Precision::kNormal, 17, 15, columns);
      const std::vector<Truth> truth = truth_of(c);
      for (const std::string_view isa : isa_names()) {
        const IsaScope scope(isa);
        const std::vector<float> out = c.run();
        CAPTURE(columns);
        CAPTURE(isa);
        for (std::size_t i = 0; i < out.size(); ++i) {
          REQUIRE(std::abs(out[i] - truth[i].value) <= 1e-5 * truth[i].size);
        }
      }
    }
  }
}

// --- The same bits

TEST_CASE("products: a token's bits don't depend on its company, the panels or the threads") {
  constexpr std::size_t kRows = 1000;
  constexpr std::size_t kTokens = 77;
  using oneapi::tbb::global_control;
  const global_control real_threads(global_control::max_allowed_parallelism, 4);
  for (const auto [type, precision] : kinds()) {
    const Case c(type, precision, kRows, kTokens, 256);
    for (const std::string_view isa : isa_names()) {
      const IsaScope scope(isa);
      CAPTURE(dtype_info(type).name);
      CAPTURE(isa);
      const std::vector<float> whole = c.run();
      for (const int threads : {1, 2, 4}) {
        oneapi::tbb::task_arena arena(threads);
        std::vector<float> out;
        arena.execute([&] { out = c.run(); });
        CAPTURE(threads);
        REQUIRE(same_bits(out.data(), whole.data(), out.size()));
      }
      std::vector<float> row(kRows);
      for (std::size_t t = 0; t < kTokens; t += 5) {
        ProductArgs alone = c.args(row.data());
        alone.in += t * activation_row_bytes(c.form, c.columns);
        alone.tokens = 1;
        product(alone);
        CAPTURE(t);
        REQUIRE(same_bits(row.data(), &whole[t * kRows], kRows));
      }
      std::vector<float> split(kTokens * kRows);
      for (std::size_t panel = 0; panel * kPanelRows < kRows; panel += 7) {
        const std::size_t begin = panel * kPanelRows;
        ProductArgs some = c.args(split.data() + begin);
        some.panels += panel * panel_bytes(type, c.columns);
        some.rows = std::min(kRows - begin, 7 * kPanelRows);
        product(some);
      }
      REQUIRE(same_bits(split.data(), whole.data(), split.size()));
    }
  }
}

TEST_CASE("products: activations are converted to the same bits by every instruction set") {
  std::vector<float> in = random_floats(64 * kActivationGroup, 3);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] *= std::exp2(static_cast<float>(i / 32) - 50);
  for (const ActivationForm form :
       {ActivationForm::kBf16, ActivationForm::kInt8, ActivationForm::kInt16}) {
    std::vector<std::byte> best(activation_row_bytes(form, in.size()));
    convert_activations(form, in.data(), in.size(), best.data());
    for (const std::string_view isa : isa_names()) {
      const IsaScope scope(isa);
      std::vector<std::byte> converted(best.size());
      convert_activations(form, in.data(), in.size(), converted.data());
      CAPTURE(isa);
      CHECK(converted == best);
    }
  }
}

// --- Activations

// All within half a step, and sums as they should be.
template <typename Group>
void check_groups(ActivationForm form, int largest_integer) {
  std::vector<float> in = random_floats(32 * kActivationGroup, 5);
  std::fill_n(in.begin(), kActivationGroup, 0.0f);
  std::fill_n(in.begin() + kActivationGroup, kActivationGroup, 1e-38f);
  std::vector<Group> groups(32);
  auto* bytes = reinterpret_cast<std::byte*>(groups.data());
  convert_activations(form, in.data(), in.size(), bytes);
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const Group& group = groups[g];
    float largest = 0;
    int sums[2] = {};
    for (std::size_t i = 0; i < kActivationGroup; ++i) {
      largest = std::max(largest, std::abs(in[g * kActivationGroup + i]));
      sums[i / 16] += integer(group, i);
    }
    CAPTURE(g);
    CHECK(group.minus_half_sums[0] == -sums[0]);
    CHECK(group.minus_half_sums[1] == -sums[1]);
    CHECK(group.minus_sum == -sums[0] - sums[1]);
    for (std::size_t i = 0; i < kActivationGroup; ++i) {
      REQUIRE(std::abs(integer(group, i)) <= largest_integer);
      const double error = std::abs(form_value(form, bytes, g * kActivationGroup + i) -
                                    in[g * kActivationGroup + i]);
      REQUIRE(error <= std::max(1e-30, largest / static_cast<double>(largest_integer) * 0.502));
    }
  }
}

TEST_CASE("products: quantised activations are within half a step, and their sums are right") {
  check_groups<Int8Group>(ActivationForm::kInt8, 127);
  check_groups<Int16Group>(ActivationForm::kInt16, 127 * 128 + 63);
}

TEST_CASE("products: BF16 activations are the nearest, ties to even") {
  const auto converted = [](float value) {
    std::uint16_t half = 0;
    convert_activations(ActivationForm::kBf16, &value, 1, reinterpret_cast<std::byte*>(&half));
    return half;
  };
  CHECK(converted(1.0f) == 0x3f80);
  CHECK(converted(-2.5f) == 0xc020);
  CHECK(converted(std::bit_cast<float>(0x3f808000)) == 0x3f80);  // a tie, down to even
  CHECK(converted(std::bit_cast<float>(0x3f818000)) == 0x3f82);  // a tie, up to even
  CHECK(converted(std::bit_cast<float>(0x3f808001)) == 0x3f81);
  CHECK(converted(std::numeric_limits<float>::infinity()) == 0x7f80);
  CHECK(converted(std::numeric_limits<float>::max()) == 0x7f80);
  CHECK((converted(std::bit_cast<float>(0x7f800001)) & 0x7fff) > 0x7f80);  // NaN
}

TEST_CASE("products: one non-finite activation makes all its token's outputs NaN, and no other's") {
  for (const float bad :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()}) {
    for (const auto [type, precision] : kinds()) {
      if (!is_quantised(type)) continue;
      Case c(type, precision, 20, 3, 256);
      c.in[256 + 100] = bad;
      for (const std::string_view isa : isa_names()) {
        const IsaScope scope(isa);
        c.convert();
        const std::vector<float> out = c.run();
        CAPTURE(dtype_info(type).name);
        CAPTURE(isa);
        for (std::size_t i = 0; i < out.size(); ++i) {
          CAPTURE(i);
          REQUIRE(std::isnan(out[i]) == (i / 20 == 1));
        }
      }
    }
  }
}

}  // namespace
}  // namespace sluice
