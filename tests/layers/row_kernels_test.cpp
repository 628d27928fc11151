#include "layers/row_kernels.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

#include "tests/support/all_row_kernels.h"
#include "tests/support/random_weights.h"

using namespace sluice;
using namespace sluice::testing;

TEST_CASE("norm: a row divided by its root mean square, for any width") {
  for (const RowKernels* kernels : all_row_kernels()) {
    for (const std::size_t columns : {1, 15, 64, 100, 576}) {
      CAPTURE(kernels);
      CAPTURE(columns);
      const std::vector<float> in = random_floats(columns, 1, 3.0f);
      const std::vector<float> weight = random_floats(columns, 2);
      std::vector<float> out(columns);
      kernels->norm(in.data(), weight.data(), 1e-5f, columns, out.data());
      double squares = 0.0;
      for (const float x : in) squares += static_cast<double>(x) * x;
      const double scale = 1.0 / std::sqrt(squares / static_cast<double>(columns) + 1e-5);
      for (std::size_t c = 0; c < columns; ++c) {
        CHECK(out[c] == doctest::Approx(in[c] * scale * weight[c]).epsilon(1e-5));
      }
    }
  }
}

TEST_CASE("swiglu: silu(gate) times up, far out on both sides too") {
  for (const RowKernels* kernels : all_row_kernels()) {
    for (const std::size_t columns : {3, 16, 37, 200}) {
      std::vector<float> gate = random_floats(columns, 3, 10.0f);
      const std::vector<float> up = random_floats(columns, 4);
      const std::vector<float> bias = random_floats(columns, 5);
      gate[0] = 200.0f;
      gate[1] = -200.0f;
      gate[2] = 0.0f;
      for (const bool biased : {false, true}) {
        CAPTURE(kernels);
        CAPTURE(columns);
        CAPTURE(biased);
        std::vector<float> out(columns);
        const float* b = biased ? bias.data() : nullptr;
        kernels->swiglu(gate.data(), up.data(), b, b, columns, out.data());
        for (std::size_t c = 0; c < columns; ++c) {
          const double g = gate[c] + (biased ? static_cast<double>(bias[c]) : 0.0);
          const double u = up[c] + (biased ? static_cast<double>(bias[c]) : 0.0);
          const double wanted = g / (1.0 + std::exp(-g)) * u;
          CHECK(std::abs(out[c] - wanted) <= 1e-5 * std::abs(wanted) + 1e-30);
        }
      }
    }
  }
}

TEST_CASE("rotate: turns each pair by its angle, and leaves the rest but for the scale") {
  const std::size_t heads = 3;
  const std::size_t dim = 24;
  const std::size_t rope_dims = 10;
  std::vector<float> rotations;
  for (std::size_t i = 0; i < rope_dims / 2; ++i) {
    rotations.push_back(static_cast<float>(std::cos(0.3 * static_cast<double>(i + 1))));
    rotations.push_back(static_cast<float>(std::sin(0.3 * static_cast<double>(i + 1))));
  }
  const std::vector<float> in = random_floats(heads * dim, 6);
  for (const RowKernels* kernels : all_row_kernels()) {
    CAPTURE(kernels);
    std::vector<float> out = in;
    kernels->rotate(out.data(), heads, dim, rope_dims, rotations.data(), 0.5f);
    for (std::size_t i = 0; i < in.size(); ++i) {
      const std::size_t d = i % dim;
      double wanted = in[i];
      if (d < rope_dims) {
        const double angle = 0.3 * static_cast<double>(d / 2 + 1);
        wanted = d % 2 == 0 ? in[i] * std::cos(angle) - in[i + 1] * std::sin(angle)
                            : in[i] * std::cos(angle) + in[i - 1] * std::sin(angle);
      }
      CHECK(out[i] == doctest::Approx(0.5 * wanted).epsilon(1e-5));
    }
  }
}
