// Weights and activations on the made-up GPU, and as plain numbers.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "layers/activations.h"
#include "layers/products.h"
#include "tests/cuda/kernels_fixture.h"
#include "tests/support/random_weights.h"

namespace sluice::testing {

// A type of weights with a form of activations that its products take.
struct ProductKind {
  DType type;
  ActivationForm form;
};

inline std::vector<ProductKind> product_kinds() {
  std::vector<ProductKind> kinds;
  for (const DType type : kAllDTypes) {
    if (is_quantised(type)) {
      kinds.push_back({type, ActivationForm::kInt8});
      kinds.push_back({type, ActivationForm::kInt16});
    } else {
      kinds.push_back({type, ActivationForm::kF32});
      if (type == DType::kBF16) kinds.push_back({type, ActivationForm::kBf16});
    }
  }
  return kinds;
}

struct TestMatrix {
  TestMatrix(DType type_, std::size_t rows_, std::size_t columns_, std::uint32_t seed)
      : type(type_),
        rows(rows_),
        columns(columns_),
        panels(pack_rows(type, random_rows(type, rows, columns, seed), rows, columns)),
        values(rows * columns) {
    for (std::size_t row = 0; row < rows; ++row) {
      decode_packed_row(type, panels.data(), row, columns, &values[row * columns]);
    }
  }
  DType type;
  std::size_t rows;
  std::size_t columns;
  DeviceArray<std::byte> panels;
  std::vector<float> values;  // [rows, columns]
};

// What the activation in column `c` of a row in `form` stands for.
inline double activation_value(ActivationForm form, const std::byte* row, std::size_t c) {
  const std::size_t i = c % kActivationGroup;
  switch (form) {
    case ActivationForm::kF32:
      return reinterpret_cast<const float*>(row)[c];
    case ActivationForm::kBf16:
      return std::bit_cast<float>(std::uint32_t{reinterpret_cast<const std::uint16_t*>(row)[c]}
                                  << 16);
    case ActivationForm::kInt8: {
      const auto& group = reinterpret_cast<const Int8Group*>(row)[c / kActivationGroup];
      return static_cast<double>(group.scale) * group.high[i];
    }
    case ActivationForm::kInt16: {
      const auto& group = reinterpret_cast<const Int16Group*>(row)[c / kActivationGroup];
      return static_cast<double>(group.scale) * (128 * group.high[i] + group.low[i]);
    }
  }
  return NAN;
}

// Random activations in a form, with values of every size.
struct TestActivations {
  TestActivations(ActivationForm form_, std::size_t tokens_, std::size_t columns_,
                  std::uint32_t seed)
      : form(form_),
        tokens(tokens_),
        columns(columns_),
        row_bytes(activation_row_bytes(form, columns)),
        bytes(tokens * row_bytes),
        values(tokens * columns) {
    const std::vector<float> in = random_floats(tokens * columns, seed);
    for (std::size_t t = 0; t < tokens; ++t) {
      std::byte* row = bytes.data() + t * row_bytes;
      if (form == ActivationForm::kF32) {
        std::memcpy(row, &in[t * columns], columns * sizeof(float));
      } else {
        convert_activations(form, &in[t * columns], columns, row);
      }
      for (std::size_t c = 0; c < columns; ++c) {
        values[t * columns + c] = activation_value(form, row, c);
      }
    }
  }
  const std::byte* row(std::size_t token) const { return bytes.data() + token * row_bytes; }

  ActivationForm form;
  std::size_t tokens;
  std::size_t columns;
  std::size_t row_bytes;
  DeviceArray<std::byte> bytes;
  std::vector<double> values;  // [tokens, columns]
};

// A product's output in double precision, [tokens, rows], and how much was summed up for each.
struct ProductTruth {
  ProductTruth(const TestMatrix& weights, const TestActivations& in) {
    for (std::size_t t = 0; t < in.tokens; ++t) {
      for (std::size_t r = 0; r < weights.rows; ++r) {
        double sum = 0.0;
        double size = 0.0;
        for (std::size_t c = 0; c < in.columns; ++c) {
          const double term = static_cast<double>(weights.values[r * in.columns + c]) *
                              in.values[t * in.columns + c];
          sum += term;
          size += std::abs(term);
        }
        values.push_back(sum);
        sizes.push_back(size);
      }
    }
  }
  std::vector<double> values;
  std::vector<double> sizes;
};

}  // namespace sluice::testing
