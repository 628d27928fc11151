// Operations on rows, against double precision, in every form that they can be wanted in.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "layers/cuda/kernels.h"
#include "tests/cuda/kernels_matrices.h"

using namespace sluice;
using namespace sluice::testing;

namespace {

// Memory for an operation's output in every form that rows of this width can have.
struct Outputs {
  Outputs(std::size_t tokens_, std::size_t columns_) : tokens(tokens_), columns(columns_) {
    for (std::size_t f = 0; f < kActivationForms; ++f) {
      const auto form = static_cast<ActivationForm>(f);
      const bool groups = form == ActivationForm::kInt8 || form == ActivationForm::kInt16;
      if (groups && columns % kActivationGroup != 0) continue;
      memory[f] =
          std::make_unique<DeviceArray<std::byte>>(tokens * activation_row_bytes(form, columns));
      all[form] = memory[f]->data();
    }
  }
  Activations only(ActivationForm form) {
    Activations one;
    one[form] = all[form];
    return one;
  }
  void clear() {
    for (const auto& each : memory) {
      if (each != nullptr) each->clear();
    }
  }

  // f32 is right, and every other form is the bits that the CPU makes of it.
  template <typename Wanted>
  void check(double tolerance, const Wanted& wanted) {
    double worst = 0.0;
    for (std::size_t t = 0; t < tokens; ++t) {
      for (std::size_t c = 0; c < columns; ++c) {
        const double right = wanted(t, c);
        const double error = std::abs(all.f32(t, columns)[c] - right);
        const double relative = error / (std::abs(right) + 1e-30);
        worst = std::isnan(relative) ? INFINITY : std::max(worst, relative);
      }
    }
    CHECK(worst < tolerance);
    check_forms();
  }
  void check_forms() const {
    for (const ActivationForm form :
         {ActivationForm::kBf16, ActivationForm::kInt8, ActivationForm::kInt16}) {
      if (!all.wants(form)) continue;
      CAPTURE(static_cast<int>(form));
      const std::size_t row_bytes = activation_row_bytes(form, columns);
      for (std::size_t t = 0; t < tokens; ++t) {
        std::vector<std::byte> right(row_bytes, std::byte{0xff});
        convert_activations(form, all.f32(t, columns), columns, right.data());
        CAPTURE(t);
        CHECK(std::memcmp(all.row(form, t, columns), right.data(), row_bytes) == 0);
      }
    }
  }

  std::size_t tokens;
  std::size_t columns;
  std::array<std::unique_ptr<DeviceArray<std::byte>>, kActivationForms> memory;
  Activations all;
};

}  // namespace

TEST_CASE("kernels: norm divides a row by its root mean square, for any width and in every form") {
  TestGpu gpu;
  constexpr std::size_t kTokens = 3;
  for (const std::size_t columns : {1, 31, 64, 100, 256, 576, 800}) {
    CAPTURE(columns);
    const std::vector<float> host_in = random_floats(5 * columns, 1);
    const std::vector<float> host_weight = random_floats(columns, 2);
    const DeviceArray<float> in(host_in);
    const DeviceArray<float> weight(host_weight);
    const std::vector<std::int32_t> chosen = {4, 0, 2};
    const DeviceArray<std::int32_t> rows(chosen);
    Outputs out(kTokens, columns);
    for (const bool chooses : {false, true}) {
      CAPTURE(chooses);
      in_each_order([&] {
        out.clear();
        const NormArgs args{
            in.data(), chooses ? rows.data() : nullptr, kTokens, columns, weight.data(), 1e-5f,
            out.all};
        gpu.run([&](Ops& ops, Stream& stream) { ops.norm(stream, args); });
        out.check(3e-6, [&](std::size_t t, std::size_t c) {
          const std::size_t row = chooses ? static_cast<std::size_t>(chosen[t]) : t;
          double squares = 0.0;
          for (std::size_t i = 0; i < columns; ++i) {
            squares += std::pow(static_cast<double>(host_in[row * columns + i]), 2);
          }
          return host_in[row * columns + c] * static_cast<double>(host_weight[c]) /
                 std::sqrt(squares / static_cast<double>(columns) + 1e-5);
        });
      });
    }
  }
}

TEST_CASE("kernels: swiglu is silu(gate) times up, far out on both sides too, in every form") {
  TestGpu gpu;
  constexpr std::size_t kTokens = 3;
  for (const std::size_t columns : {3, 32, 37, 288, 320}) {
    CAPTURE(columns);
    std::vector<float> host_in = random_floats(kTokens * 2 * columns, 3);
    for (float& x : host_in) x *= 6.0f;
    host_in[0] = 80.0f;
    host_in[1] = -80.0f;
    host_in[2] = 0.0f;
    const std::vector<float> host_gate_bias = random_floats(columns, 4);
    const std::vector<float> host_up_bias = random_floats(columns, 5);
    const DeviceArray<float> in(host_in);
    const DeviceArray<float> gate_bias(host_gate_bias);
    const DeviceArray<float> up_bias(host_up_bias);
    Outputs out(kTokens, columns);
    for (const int biases : {0, 1, 2, 3}) {
      CAPTURE(biases);
      const bool has_gate = (biases & 1) != 0;
      const bool has_up = (biases & 2) != 0;
      in_each_order([&] {
        out.clear();
        const SwiGluArgs args{in.data(),
                              kTokens,
                              columns,
                              has_gate ? gate_bias.data() : nullptr,
                              has_up ? up_bias.data() : nullptr,
                              out.all};
        gpu.run([&](Ops& ops, Stream& stream) { ops.swiglu(stream, args); });
        out.check(1e-5, [&](std::size_t t, std::size_t c) {
          // The biases are added in f32.
          const float* row = &host_in[t * 2 * columns];
          const double gate = row[c] + (has_gate ? host_gate_bias[c] : 0.0f);
          const double up = row[columns + c] + (has_up ? host_up_bias[c] : 0.0f);
          return gate / (1.0 + std::exp(-gate)) * up;
        });
      });
    }
  }
}

TEST_CASE("kernels: an operation writes the forms that are wanted and no other") {
  TestGpu gpu;
  constexpr std::size_t kColumns = 96;
  const std::vector<float> host_in = random_floats(2 * kColumns, 1);
  const DeviceArray<float> in(host_in);
  const DeviceArray<float> weight(random_floats(kColumns, 2));
  Outputs together(2, kColumns);
  const auto norm = [&](const Activations& out) {
    const NormArgs args{in.data(), nullptr, 2, kColumns, weight.data(), 1e-5f, out};
    gpu.run([&](Ops& ops, Stream& stream) { ops.norm(stream, args); });
  };
  norm(together.all);
  for (std::size_t f = 0; f < kActivationForms; ++f) {
    Outputs alone(2, kColumns);
    norm(alone.only(static_cast<ActivationForm>(f)));
    for (std::size_t other = 0; other < kActivationForms; ++other) {
      const std::vector<std::byte> got = alone.memory[other]->values();
      if (other == f) {
        CHECK(got == together.memory[other]->values());
      } else {
        CHECK(got == std::vector<std::byte>(got.size(), std::byte{0xff}));
      }
    }
  }
}

TEST_CASE("kernels: f32 is converted to the CPU's bits, the smallest and largest groups too") {
  TestGpu gpu;
  constexpr std::size_t kTokens = 4;
  for (const std::size_t columns : {1, 45, 32, 96, 288, 512}) {
    CAPTURE(columns);
    std::vector<float> in = random_floats(kTokens * columns, 9);
    for (std::size_t i = 0; i < in.size(); ++i) {
      in[i] *= std::exp2(static_cast<float>(i / 32 % 60) * 4.0f - 120.0f);
    }
    // A row of zeros, one of what counts as zero, one of values at ties.
    for (std::size_t c = 0; c < columns; ++c) {
      in[columns + c] = 0.0f;
      in[2 * columns + c] = 1e-38f;
      in[3 * columns + c] = c % 32 == 0 ? 127.0f : static_cast<float>(c % 32) - 15.5f;
    }
    Outputs out(kTokens, columns);
    in_each_order([&] {
      out.clear();
      for (std::size_t t = 0; t < kTokens; ++t) {
        std::copy_n(&in[t * columns], columns, out.all.f32(t, columns));
      }
      convert_rows(gpu.handle(), out.all, kTokens, columns);
      gpu.run([](Ops&, Stream&) {});
      for (std::size_t t = 0; t < kTokens; ++t) {
        CHECK(same_bits({out.all.f32(t, columns), columns}, {&in[t * columns], columns}));
      }
      out.check_forms();
    });
  }
}

TEST_CASE("kernels: one value that isn't finite makes its whole group NaN, and no other") {
  TestGpu gpu;
  constexpr std::size_t kColumns = 96;
  for (const float bad : {INFINITY, -INFINITY, std::nanf("")}) {
    Outputs out(1, kColumns);
    const std::vector<float> in = random_floats(kColumns, 10);
    std::copy(in.begin(), in.end(), out.all.f32(0, kColumns));
    out.all.f32(0, kColumns)[40] = bad;
    convert_rows(gpu.handle(), out.all, 1, kColumns);
    gpu.run([](Ops&, Stream&) {});
    for (const ActivationForm form : {ActivationForm::kInt8, ActivationForm::kInt16}) {
      const std::byte* row = out.all.row(form, 0, kColumns);
      for (std::size_t c = 0; c < kColumns; ++c) {
        CHECK(std::isnan(activation_value(form, row, c)) == (c / kActivationGroup == 1));
      }
    }
  }
}

TEST_CASE("kernels: a bias is added to every row, for any width") {
  TestGpu gpu;
  for (const std::size_t columns : {1, 33, 256, 700}) {
    CAPTURE(columns);
    const std::vector<float> before = random_floats(3 * columns, 6);
    const std::vector<float> host_bias = random_floats(columns, 7);
    const DeviceArray<float> bias(host_bias);
    in_each_order([&] {
      const DeviceArray<float> io(before);
      const BiasArgs args{io.data(), 3, columns, bias.data()};
      gpu.run([&](Ops& ops, Stream& stream) { ops.add_bias(stream, args); });
      bool same = true;
      for (std::size_t i = 0; i < io.size(); ++i) {
        same &= io[i] == before[i] + host_bias[i % columns];
      }
      CHECK(same);
    });
  }
}
