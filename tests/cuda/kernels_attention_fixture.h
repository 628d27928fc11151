// Sequences whose keys and values lie in scattered pages, and what attention must make of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "layers/ops.h"
#include "layers/row_kernels.h"
#include "memory/quant.h"
#include "tests/cuda/kernels_fixture.h"
#include "tests/support/kv_referee.h"
#include "tests/support/random_weights.h"

namespace sluice::testing {

struct AttentionShape {
  std::size_t head_dim;
  std::size_t kv_heads;
  std::size_t group;  // heads that share a key
  KvType type;
};

// Some tokens of one sequence, from `first_position` on; those before are in its pages.
struct AttentionPart {
  std::size_t first_position;
  std::size_t tokens;
};

// What isn't a key, a value or a query is NaN: unused pages, slots behind the last key, and the
// keys and values of qkv, which have gone to their pages.
struct AttentionCase {
  AttentionCase(const AttentionShape& shape_, const std::vector<AttentionPart>& parts_)
      : shape(shape_),
        parts(parts_),
        heads(shape.kv_heads * shape.group),
        layout(make_layout(shape, parts)),
        tokens(count_tokens(parts)),
        pages(layout.layer_bytes()),
        qkv(tokens * row_floats()) {
    std::uint32_t seed = 1;
    std::size_t page = 0;
    std::size_t token = 0;
    for (const AttentionPart& part : parts) {
      const std::size_t keys = part.first_position + part.tokens;
      const std::size_t first_page = table.size();
      for (std::size_t p = 0; p < ceil_div(keys, kPageTokens); ++p, ++page) {
        // 7 shares no factor with the number of pages.
        table.push_back(static_cast<std::int32_t>((page * 7 + 3) % layout.pages));
      }
      const std::size_t width = shape.kv_heads * shape.head_dim;
      part_keys.push_back(random_floats(keys * width, ++seed));
      part_values.push_back(random_floats(keys * width, ++seed));
      store(keys, first_page);
      const std::size_t most = gpu_query_block_tokens(shape.group);
      for (std::size_t t = 0; t < part.tokens; t += most) {
        blocks.push_back({static_cast<std::int32_t>(token + t),
                          static_cast<std::int32_t>(std::min(most, part.tokens - t)),
                          static_cast<std::int32_t>(part.first_position + t),
                          static_cast<std::int32_t>(first_page)});
      }
      token += part.tokens;
      longest = std::max(longest, keys);
    }
    const float scale = 1.5f / std::sqrt(static_cast<float>(shape.head_dim));
    const std::vector<float> random = random_floats(tokens * heads * shape.head_dim, 77);
    for (std::size_t i = 0; i < random.size(); ++i) {
      const std::size_t width = heads * shape.head_dim;
      qkv[i / width * row_floats() + i % width] = random[i] * scale;
    }
  }

  // `out` of one token's head, in double precision; of its query and of keys and values as they
  // are, or rounded to halves.
  std::vector<double> truth(std::size_t part, std::size_t token_of_part, std::size_t head,
                            std::size_t token, bool halves) const {
    const std::size_t dim = shape.head_dim;
    const std::size_t width = shape.kv_heads * dim;
    const std::size_t kv = head / shape.group * dim;
    const float* query = &qkv[token * row_floats() + head * dim];
    const std::size_t keys = parts[part].first_position + token_of_part + 1;
    std::vector<double> scores(keys);
    double top = -INFINITY;
    for (std::size_t k = 0; k < keys; ++k) {
      double dot = 0.0;
      for (std::size_t d = 0; d < dim; ++d) {
        dot += rounded(query[d], halves) * rounded(part_keys[part][k * width + kv + d], halves);
      }
      scores[k] = dot;
      top = std::max(top, dot);
    }
    double total = 0.0;
    std::vector<double> out(dim);
    for (std::size_t k = 0; k < keys; ++k) {
      const double weight = std::exp(scores[k] - top);
      total += weight;
      for (std::size_t d = 0; d < dim; ++d) {
        out[d] += weight * rounded(part_values[part][k * width + kv + d], halves);
      }
    }
    for (double& each : out) each /= total;
    return out;
  }

  std::size_t row_floats() const { return (heads + 2 * shape.kv_heads) * shape.head_dim; }
  std::size_t columns() const { return heads * shape.head_dim; }
  static double rounded(float value, bool halves) {
    return halves ? half_to_float(float_to_half(value)) : value;
  }

  AttentionShape shape;
  std::vector<AttentionPart> parts;
  std::size_t heads;
  KvLayout layout;
  std::size_t tokens;
  std::size_t longest = 0;
  std::vector<std::int32_t> table;
  std::vector<QueryBlock> blocks;
  DeviceArray<std::byte> pages;
  DeviceArray<float> qkv;
  // [keys, kv_heads, head_dim] of each part, as the pages hold them
  std::vector<std::vector<float>> part_keys;
  std::vector<std::vector<float>> part_values;

 private:
  static std::size_t count_tokens(const std::vector<AttentionPart>& parts) {
    std::size_t tokens = 0;
    for (const AttentionPart& part : parts) tokens += part.tokens;
    return tokens;
  }
  static KvLayout make_layout(const AttentionShape& shape,
                              const std::vector<AttentionPart>& parts) {
    std::size_t pages = 2;  // that are nobody's
    for (const AttentionPart& part : parts) {
      pages += ceil_div(part.first_position + part.tokens, kPageTokens);
    }
    if (pages % 7 == 0) ++pages;
    return {.type = shape.type,
            .layers = 1,
            .kv_heads = shape.kv_heads,
            .head_dim = shape.head_dim,
            .pages = pages};
  }

  // Of the last part, by the CPU's kernel, which has tests of its own.
  void store(std::size_t count, std::size_t first_page) {
    const std::size_t dim = shape.head_dim;
    for (std::size_t k = 0; k < count; ++k) {
      const auto page = static_cast<std::size_t>(table[first_page + k / kPageTokens]);
      for (std::size_t head = 0; head < shape.kv_heads; ++head) {
        std::byte* begin = pages.data() + page * layout.page_bytes() +
                           head * (layout.keys_bytes() + layout.values_bytes());
        float* key = &part_keys.back()[(k * shape.kv_heads + head) * dim];
        float* value = &part_values.back()[(k * shape.kv_heads + head) * dim];
        row_kernels().store(key, value, k % kPageTokens, layout, begin);
        const PageReader reader{layout, begin};
        for (std::size_t d = 0; d < dim; ++d) {
          key[d] = static_cast<float>(reader.key(k % kPageTokens, d));
          value[d] = static_cast<float>(reader.value(k % kPageTokens, d));
        }
      }
    }
  }
};

}  // namespace sluice::testing
