#include "layers/row_kernels.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "layers/isa.h"
#include "layers/ops.h"
#include "memory/quant.h"

using namespace sluice;

namespace {

// Of every instruction set that this machine runs, the best first.
std::vector<const RowKernels*> all_kernels() {
  std::vector<const RowKernels*> all;
  for (const std::string_view name : isa_names()) {
    force_isa(name);
    if (all.empty() || all.back() != &row_kernels()) all.push_back(&row_kernels());
  }
  force_isa(isa_names()[0]);
  return all;
}

std::vector<float> random_floats(std::size_t count, unsigned seed, float scale = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

// One sequence's pages, filled token by token through the kernel under test.
struct Cache {
  Cache(const RowKernels& kernels, const KvLayout& kv, const std::vector<float>& keys,
        const std::vector<float>& values)
      : layout(kv), bytes(kv.total_bytes(), std::byte{0xff}) {  // NaN where nothing was stored
    const std::size_t tokens = keys.size() / layout.head_dim;
    for (std::size_t page = 0; page < layout.pages; ++page) {
      table.push_back(static_cast<std::int32_t>(layout.pages - 1 - page));  // in no order
    }
    for (std::size_t t = 0; t < tokens; ++t) {
      const auto page = static_cast<std::size_t>(table[t / kPageTokens]);
      kernels.store(keys.data() + t * layout.head_dim, values.data() + t * layout.head_dim,
                    t % kPageTokens, layout, bytes.data() + page * layout.page_bytes());
    }
  }
  KvLayout layout;
  std::vector<std::byte> bytes;
  std::vector<std::int32_t> table;
};

float stored(float value, KvType type) {
  return type == KvType::kF32 ? value : half_to_float(float_to_half(value));
}

// softmax(q K^T) V in double, keys and values as the cache rounds them.
std::vector<double> plain_attention(const float* query, const std::vector<float>& keys,
                                    const std::vector<float>& values, std::size_t dim,
                                    std::size_t tokens, KvType type) {
  std::vector<double> scores(tokens);
  double top = -1e300;
  for (std::size_t t = 0; t < tokens; ++t) {
    double dot = 0.0;
    for (std::size_t d = 0; d < dim; ++d) dot += query[d] * stored(keys[t * dim + d], type);
    scores[t] = dot;
    top = std::max(top, dot);
  }
  double total = 0.0;
  for (double& s : scores) total += s = std::exp(s - top);
  std::vector<double> out(dim, 0.0);
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t d = 0; d < dim; ++d) {
      out[d] += scores[t] / total * stored(values[t * dim + d], type);
    }
  }
  return out;
}

std::vector<float> attend(const RowKernels& kernels, const Cache& cache, const float* queries,
                          std::size_t stride, std::size_t first_position, std::size_t tokens,
                          std::size_t group) {
  const std::size_t dim = cache.layout.head_dim;
  std::vector<float> out(tokens * group * dim);
  std::vector<float> scratch(attend_scratch_floats(cache.layout, tokens * group), NAN);
  kernels.attend({.queries = queries,
                  .query_stride = stride,
                  .tokens = tokens,
                  .group = group,
                  .first_position = first_position,
                  .pages = cache.table.data(),
                  .head = cache.bytes.data(),
                  .layout = cache.layout,
                  .out = out.data(),
                  .out_stride = group * dim,
                  .scratch = scratch.data()});
  return out;
}

}  // namespace

TEST_CASE("norm: a row divided by its root mean square, for any width") {
  for (const RowKernels* kernels : all_kernels()) {
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
  for (const RowKernels* kernels : all_kernels()) {
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
  for (const RowKernels* kernels : all_kernels()) {
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

TEST_CASE("attend: softmax over all keys up to each query, through pages in any order") {
  for (const RowKernels* kernels : all_kernels()) {
    for (const KvType type : {KvType::kF16, KvType::kF32}) {
      for (const std::size_t dim : {24, 64, 80, 128}) {
        for (const std::size_t group : {1, 3, 5}) {
          for (const std::size_t first : {0, 1, 60, 64, 150}) {
            const std::size_t tokens = query_block_tokens(group);
            const std::size_t all = first + tokens;
            const KvLayout layout{.type = type,
                                  .layers = 1,
                                  .kv_heads = 1,
                                  .head_dim = dim,
                                  .pages = (all + kPageTokens - 1) / kPageTokens};
            const std::vector<float> keys = random_floats(all * dim, 7);
            const std::vector<float> values = random_floats(all * dim, 8);
            const std::vector<float> queries = random_floats(tokens * group * dim, 9, 0.4f);
            const Cache cache(*kernels, layout, keys, values);
            const std::vector<float> out =
                attend(*kernels, cache, queries.data(), group * dim, first, tokens, group);
            CAPTURE(kernels);
            CAPTURE(dim);
            CAPTURE(group);
            CAPTURE(first);
            double worst = 0.0;
            for (std::size_t q = 0; q < tokens * group; ++q) {
              const std::vector<double> wanted = plain_attention(
                  queries.data() + q * dim, keys, values, dim, first + q / group + 1, type);
              for (std::size_t d = 0; d < dim; ++d) {
                worst = std::max(worst, std::abs(out[q * dim + d] - wanted[d]));
              }
            }
            CHECK(worst < 2e-5);
          }
        }
      }
    }
  }
}

TEST_CASE("attend: a query's result doesn't depend on what it is worked on with") {
  const std::size_t dim = 64;
  const std::size_t group = 3;
  const std::size_t all = 200;
  const KvLayout layout{
      .type = KvType::kF16, .layers = 1, .kv_heads = 1, .head_dim = dim, .pages = 4};
  const std::vector<float> keys = random_floats(all * dim, 10);
  const std::vector<float> values = random_floats(all * dim, 11);
  const std::vector<float> queries = random_floats(16 * group * dim, 12);
  for (const RowKernels* kernels : all_kernels()) {
    const Cache cache(*kernels, layout, keys, values);
    const std::vector<float> together =
        attend(*kernels, cache, queries.data(), group * dim, 120, 16, group);
    for (std::size_t t = 0; t < 16; ++t) {
      CAPTURE(kernels);
      CAPTURE(t);
      const std::vector<float> alone =
          attend(*kernels, cache, queries.data() + t * group * dim, group * dim, 120 + t, 1, group);
      CHECK(std::memcmp(alone.data(), together.data() + t * group * dim,
                        alone.size() * sizeof(float)) == 0);
    }
  }
}
