// Keys and values in pages, and attention over them, on every instruction set.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "layers/ops.h"
#include "tests/support/all_row_kernels.h"
#include "tests/support/kv_referee.h"
#include "tests/support/random_weights.h"

using namespace sluice;
using namespace sluice::testing;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Groups of 32 of all sizes, from ones below the smallest half to some beyond the largest; one is
// zeros.
std::vector<float> random_groups(std::size_t count, unsigned seed) {
  std::vector<float> values = random_floats(count, seed);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t group = i / 32 + seed;
    values[i] *= group % 7 == 3 ? 0.0f : std::ldexp(1.0f, static_cast<int>(group * 5 % 57) - 36);
  }
  return values;
}

KvLayout one_head(KvType type, std::size_t dim, std::size_t tokens) {
  return {.type = type,
          .layers = 1,
          .kv_heads = 1,
          .head_dim = dim,
          .pages = ceil_div(tokens, kPageTokens)};
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
      kernels.store(keys.data() + t * layout.head_dim, values.data() + t * layout.head_dim,
                    t % kPageTokens, layout, bytes.data() + offset(t));
    }
  }
  std::size_t offset(std::size_t token) const {
    return static_cast<std::size_t>(table[token / kPageTokens]) * layout.page_bytes();
  }
  PageReader page_of(std::size_t token) const { return {layout, bytes.data() + offset(token)}; }

  KvLayout layout;
  std::vector<std::byte> bytes;
  std::vector<std::int32_t> table;
};

// softmax(q K^T) V in double, of keys and values that `key` and `value` tell: (token, dimension).
template <typename Key, typename Value>
std::vector<double> plain_attention(const float* query, std::size_t dim, std::size_t tokens,
                                    const Key& key, const Value& value) {
  std::vector<double> scores(tokens);
  double top = -1e300;
  for (std::size_t t = 0; t < tokens; ++t) {
    double dot = 0.0;
    for (std::size_t d = 0; d < dim; ++d) dot += query[d] * key(t, d);
    scores[t] = dot;
    top = std::max(top, dot);
  }
  double total = 0.0;
  for (double& s : scores) total += s = std::exp(s - top);
  std::vector<double> out(dim, 0.0);
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t d = 0; d < dim; ++d) out[d] += scores[t] / total * value(t, d);
  }
  return out;
}

// Of what the cache holds.
std::vector<double> attention_of(const Cache& cache, const float* query, std::size_t tokens) {
  const auto at = [&](std::size_t t) { return cache.page_of(t); };
  return plain_attention(
      query, cache.layout.head_dim, tokens,
      [&](std::size_t t, std::size_t d) { return at(t).key(t % kPageTokens, d); },
      [&](std::size_t t, std::size_t d) { return at(t).value(t % kPageTokens, d); });
}

std::vector<float> attend(const RowKernels& kernels, const Cache& cache, const float* queries,
                          std::size_t first_position, std::size_t tokens, std::size_t group) {
  const std::size_t dim = cache.layout.head_dim;
  std::vector<float> out(tokens * group * dim);
  std::vector<float> scratch(attend_scratch_floats(cache.layout, tokens * group), NAN);
  kernels.attend({.queries = queries,
                  .query_stride = group * dim,
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

// A value as the page holds it: to half a step of its group's scale, which is no larger than it has
// to be.
bool is_kept(KvType type, double kept, float value, double scale, float largest) {
  if (type == KvType::kF32) return kept == value;
  if (type == KvType::kF16) return kept == half_to_float(float_to_half(value));
  const double needed = largest / 127.0;
  const double step = std::max(needed * 0x1p-11, 0x1p-24);  // from half to half
  return std::abs(kept - value) <= 0.5001 * scale && scale <= needed + step;
}

float largest_of_group(const std::vector<float>& values, std::size_t d) {
  float largest = 0.0f;
  for (std::size_t i = d / 32 * 32; i < std::min(d / 32 * 32 + 32, values.size()); ++i) {
    largest = std::max(largest, std::abs(values[i]));
  }
  return largest;
}

}  // namespace

TEST_CASE("store: a slot holds a token to half a step, whatever its size, and no other changes") {
  for (const KvType type : kAllKvTypes) {
    for (const std::size_t dim : {1, 15, 16, 24, 31, 32, 33, 64, 80, 128, 300}) {
      const KvLayout layout = one_head(type, dim, 1);
      std::vector<std::byte> first;  // of the first instruction set
      for (const RowKernels* kernels : all_row_kernels()) {
        CAPTURE(kernels);
        CAPTURE(kv_type_name(type));
        CAPTURE(dim);
        std::vector<std::byte> page(layout.page_bytes(), std::byte{0xff});
        std::size_t wrong = 0;
        for (const std::size_t slot : {0, 5, 63}) {
          const auto seed = static_cast<unsigned>(slot + dim);
          const std::vector<float> key = random_groups(dim, seed);
          const std::vector<float> value = random_groups(dim, seed + 1);
          kernels->store(key.data(), value.data(), slot, layout, page.data());
          const PageReader reader{layout, page.data()};
          for (std::size_t d = 0; d < dim; ++d) {
            wrong += !is_kept(type, reader.key(slot, d), key[d], reader.key_scale(slot, d),
                              largest_of_group(key, d));
            wrong += !is_kept(type, reader.value(slot, d), value[d], reader.value_scale(slot, d),
                              largest_of_group(value, d));
          }
          for (std::size_t d = dim; d < layout.value_stride(); ++d) {
            wrong += reader.value(slot, d) != 0.0;
          }
        }
        CHECK(wrong == 0);
        const std::size_t stored = 3 * (layout.value_bytes() * (dim + layout.value_stride()) +
                                        2 * layout.scales_bytes() / kPageTokens);
        const auto untouched = std::ranges::count(page, std::byte{0xff});
        CHECK(static_cast<std::size_t>(untouched) + stored >= page.size());
        if (first.empty()) first = page;
        CHECK(page == first);
      }
    }
  }
}

TEST_CASE("store: what isn't finite, or larger than any scale, makes its group NaN and no other") {
  constexpr std::size_t kDim = 96;
  const KvLayout layout = one_head(KvType::kQ8_0, kDim, 1);
  for (const float bad : {kInfinity, -kInfinity, NAN, 1e7f}) {
    CAPTURE(bad);
    for (const RowKernels* kernels : all_row_kernels()) {
      CAPTURE(kernels);
      std::vector<float> key = random_floats(kDim, 3);
      key[40] = bad;
      std::vector<std::byte> page(layout.page_bytes(), std::byte{0});
      kernels->store(key.data(), key.data(), 7, layout, page.data());
      const PageReader reader{layout, page.data()};
      for (std::size_t d = 0; d < kDim; ++d) {
        const bool in_group = d / 32 == 1;
        CHECK(std::isnan(reader.key_scale(7, d)) == in_group);
        CHECK(std::isnan(reader.value_scale(7, d)) == in_group);
        CHECK(std::isnan(reader.value(7, d)) == in_group);
      }
    }
  }
}

TEST_CASE("attend: softmax over all keys up to each query, through pages in any order") {
  for (const RowKernels* kernels : all_row_kernels()) {
    for (const KvType type : kAllKvTypes) {
      for (const std::size_t dim : {15, 24, 33, 64, 80, 128}) {
        for (const std::size_t group : {1, 3, 5}) {
          for (const std::size_t first : {0, 1, 60, 64, 150}) {
            const std::size_t tokens = query_block_tokens(group);
            const std::size_t all = first + tokens;
            const std::vector<float> keys = random_floats(all * dim, 7);
            const std::vector<float> values = random_floats(all * dim, 8);
            const std::vector<float> queries = random_floats(tokens * group * dim, 9, 0.4f);
            const Cache cache(*kernels, one_head(type, dim, all), keys, values);
            const std::vector<float> out =
                attend(*kernels, cache, queries.data(), first, tokens, group);
            CAPTURE(kernels);
            CAPTURE(kv_type_name(type));
            CAPTURE(dim);
            CAPTURE(group);
            CAPTURE(first);
            double worst = 0.0;
            for (std::size_t q = 0; q < tokens * group; ++q) {
              const std::vector<double> wanted =
                  attention_of(cache, queries.data() + q * dim, first + q / group + 1);
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
  const std::size_t group = 3;
  const std::size_t all = 200;
  for (const RowKernels* kernels : all_row_kernels()) {
    for (const KvType type : kAllKvTypes) {
      for (const std::size_t dim : {24, 64, 80}) {
        const std::vector<float> queries = random_floats(16 * group * dim, 12);
        const Cache cache(*kernels, one_head(type, dim, all), random_floats(all * dim, 10),
                          random_floats(all * dim, 11));
        const std::vector<float> together = attend(*kernels, cache, queries.data(), 120, 16, group);
        for (std::size_t t = 0; t < 16; ++t) {
          CAPTURE(kernels);
          CAPTURE(kv_type_name(type));
          CAPTURE(dim);
          CAPTURE(t);
          const std::vector<float> alone =
              attend(*kernels, cache, queries.data() + t * group * dim, 120 + t, 1, group);
          CHECK(std::memcmp(alone.data(), together.data() + t * group * dim,
                            alone.size() * sizeof(float)) == 0);
        }
      }
    }
  }
}

// Of keys and values of size 1, and scores that spread by 1.
TEST_CASE("attend: what a quantised cache loses is small, and is what it should be") {
  const std::size_t tokens = 500;
  for (const std::size_t dim : {64, 128}) {
    const std::vector<float> keys = random_floats(tokens * dim, 20);
    const std::vector<float> values = random_floats(tokens * dim, 21);
    const std::vector<float> query =
        random_floats(dim, 22, 1.0f / std::sqrt(static_cast<float>(dim)));
    const std::vector<double> wanted = plain_attention(
        query.data(), dim, tokens, [&](std::size_t t, std::size_t d) { return keys[t * dim + d]; },
        [&](std::size_t t, std::size_t d) { return values[t * dim + d]; });
    double length = 0.0;
    for (const double each : wanted) length += each * each;
    for (const KvType type : kAllKvTypes) {
      const Cache cache(row_kernels(), one_head(type, dim, tokens), keys, values);
      const std::vector<float> out = attend(row_kernels(), cache, query.data(), tokens - 1, 1, 1);
      double squares = 0.0;
      for (std::size_t d = 0; d < dim; ++d) squares += std::pow(out[d] - wanted[d], 2);
      const double error = std::sqrt(squares / length);
      CAPTURE(kv_type_name(type));
      CAPTURE(dim);
      MESSAGE(kv_type_name(type), ", heads of ", dim, ": off by ", error, " of its length");
      CHECK(error < (type == KvType::kF32 ? 1e-6 : type == KvType::kF16 ? 1e-3 : 1e-2));
      if (type == KvType::kQ8_0) CHECK(error > 1e-3);
    }
  }
}
