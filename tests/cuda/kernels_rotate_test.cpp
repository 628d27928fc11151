// Rotation of queries and keys, and what it leaves in pages.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "layers/row_kernels.h"
#include "tests/cuda/kernels_fixture.h"
#include "tests/support/kv_referee.h"
#include "tests/support/random_weights.h"

using namespace sluice;
using namespace sluice::testing;

namespace {

constexpr std::size_t kTokens = 5;
constexpr std::size_t kPages = 4;
// A step of two sequences and a page's last and first slots.
constexpr std::int32_t kPositions[kTokens] = {62, 63, 64, 0, 200};
constexpr std::int32_t kPageOf[kTokens] = {2, 2, 0, 3, 1};

struct Rotation {
  std::size_t heads;
  std::size_t kv_heads;
  std::size_t head_dim;
  std::size_t rope_dims;
  KvType type;
  bool biases;
};

class RotateCase {
 public:
  explicit RotateCase(const Rotation& rotation)
      : r_(rotation),
        all_heads_(r_.heads + 2 * r_.kv_heads),
        layout_{.type = r_.type,
                .layers = 1,
                .kv_heads = r_.kv_heads,
                .head_dim = r_.head_dim,
                .pages = kPages},
        before_(random_floats(kTokens * all_heads_ * r_.head_dim, 1)),
        bias_(random_floats(all_heads_ * r_.head_dim, 2)),
        rotations_(kTokens * r_.rope_dims) {
    for (std::size_t i = 0; i < rotations_.size(); i += 2) {
      const double angle = 0.1 + 0.37 * static_cast<double>(i);
      rotations_[i] = static_cast<float>(std::cos(angle));
      rotations_[i + 1] = static_cast<float>(std::sin(angle));
    }
  }

  void run_and_check(TestGpu& gpu) const {
    const DeviceArray<float> qkv(before_);
    const DeviceArray<float> query_bias(part(bias_, 0, r_.heads));
    const DeviceArray<float> key_bias(part(bias_, r_.heads, r_.kv_heads));
    const DeviceArray<float> value_bias(part(bias_, r_.heads + r_.kv_heads, r_.kv_heads));
    const DeviceArray<std::int32_t> positions(kPositions);
    const DeviceArray<std::int32_t> pages(kPageOf);
    const DeviceArray<float> rotations(rotations_);
    const DeviceArray<std::byte> kv(layout_.layer_bytes());
    const auto biased = [&](const DeviceArray<float>& bias) {
      return r_.biases ? bias.data() : nullptr;
    };
    const RotateArgs args{qkv.data(),
                          r_.heads,
                          r_.rope_dims,
                          biased(query_bias),
                          biased(key_bias),
                          biased(value_bias),
                          {kTokens, positions.data(), pages.data(), rotations.data()},
                          {layout_, kv.data()}};
    gpu.run([&](Ops& ops, Stream& stream) { ops.rotate(stream, args); });
    check_queries(qkv);
    check_pages(kv);
  }

 private:
  std::vector<float> part(const std::vector<float>& all, std::size_t head,
                          std::size_t count) const {
    const float* begin = all.data() + head * r_.head_dim;
    return {begin, begin + count * r_.head_dim};
  }

  // Value `d` of head `head`, which is numbered through queries, keys and values.
  double wanted(std::size_t token, std::size_t head, std::size_t d) const {
    const std::size_t dim = r_.head_dim;
    const auto in = [&](std::size_t i) {
      const double bias = r_.biases ? bias_[head * dim + i] : 0.0;
      return before_[(token * all_heads_ + head) * dim + i] + bias;
    };
    if (head >= r_.heads + r_.kv_heads) return in(d);
    const double scale = head < r_.heads ? 1.0 / std::sqrt(static_cast<double>(dim)) : 1.0;
    if (d >= r_.rope_dims) return in(d)*scale;
    const float* turn = &rotations_[token * r_.rope_dims + d / 2 * 2];
    if (d % 2 == 0) return (in(d)*turn[0] - in(d + 1) * turn[1]) * scale;
    return (in(d - 1) * turn[1] + in(d)*turn[0]) * scale;
  }

  void check_queries(const DeviceArray<float>& qkv) const {
    double worst = 0.0;
    for (std::size_t t = 0; t < kTokens; ++t) {
      for (std::size_t head = 0; head < r_.heads; ++head) {
        for (std::size_t d = 0; d < r_.head_dim; ++d) {
          const float got = qkv[(t * all_heads_ + head) * r_.head_dim + d];
          worst = std::max(worst, std::abs(got - wanted(t, head, d)));
        }
      }
    }
    CHECK(worst < 2e-6);
  }

  std::byte* head_of(const DeviceArray<std::byte>& kv, std::size_t token, std::size_t head) const {
    return kv.data() + static_cast<std::size_t>(kPageOf[token]) * layout_.page_bytes() +
           head * (layout_.keys_bytes() + layout_.values_bytes());
  }

  // How far what a page holds may be from a value of a group of that scale.
  double tolerance(double value, double scale) const {
    constexpr double kOfSums = 1e-6;
    if (r_.type == KvType::kQ8_0) return 0.51 * scale + kOfSums;
    return (r_.type == KvType::kF16 ? 6e-4 : kOfSums) * (1.0 + std::abs(value));
  }

  // Keys and values are where they belong, and every other byte of the pages is as it was.
  void check_pages(const DeviceArray<std::byte>& kv) const {
    std::size_t wrong = 0;
    for (std::size_t t = 0; t < kTokens; ++t) {
      const std::size_t slot = static_cast<std::size_t>(kPositions[t]) % kPageTokens;
      for (std::size_t head = 0; head < r_.kv_heads; ++head) {
        const PageReader page{layout_, head_of(kv, t, head)};
        for (std::size_t d = 0; d < layout_.value_stride(); ++d) {
          const bool gap = d >= r_.head_dim;
          const double value = gap ? 0.0 : wanted(t, r_.heads + r_.kv_heads + head, d);
          const double off = std::abs(page.value(slot, d) - value);
          wrong += !(off <= (gap ? 0.0 : tolerance(value, page.value_scale(slot, d))));
          if (gap) continue;
          const double key = wanted(t, r_.heads + head, d);
          const double key_off = std::abs(page.key(slot, d) - key);
          wrong += !(key_off <= tolerance(key, page.key_scale(slot, d)));
        }
      }
    }
    CHECK(wrong == 0);
    std::vector<std::byte> rest = kv.values();
    for (std::size_t t = 0; t < kTokens; ++t) {
      for (std::size_t head = 0; head < r_.kv_heads; ++head) {
        clear_slot(rest.data() + (head_of(kv, t, head) - kv.data()),
                   static_cast<std::size_t>(kPositions[t]) % kPageTokens);
      }
    }
    CHECK(std::ranges::count(rest, std::byte{0xff}) == static_cast<std::ptrdiff_t>(rest.size()));
  }

  // As a page is where nothing was stored.
  void clear_slot(std::byte* head, std::size_t slot) const {
    const std::size_t bytes = layout_.value_bytes();
    std::byte* values = head + layout_.keys_bytes();
    for (std::size_t d = 0; d < r_.head_dim; ++d) {
      std::memset(head + (d * kPageTokens + slot) * bytes, 0xff, bytes);
    }
    std::memset(values + slot * layout_.value_stride() * bytes, 0xff,
                layout_.value_stride() * bytes);
    for (std::byte* end : {values, values + layout_.values_bytes()}) {
      for (std::size_t at = slot; at < layout_.scales_bytes() / 2; at += kPageTokens) {
        std::memset(end - layout_.scales_bytes() + 2 * at, 0xff, 2);
      }
    }
  }

  Rotation r_;
  std::size_t all_heads_;
  KvLayout layout_;
  std::vector<float> before_;  // [tokens, all heads, head_dim]
  std::vector<float> bias_;    // [all heads, head_dim]
  std::vector<float> rotations_;
};

}  // namespace

TEST_CASE("kernels: rotation turns queries and keys, scales queries and fills pages, and no more") {
  TestGpu gpu;
  for (const KvType type : kAllKvTypes) {
    for (const std::size_t head_dim : {15, 24, 64, 80, 96, 128, 256}) {
      for (const std::size_t less : {0, 8}) {
        for (const bool biases : {false, true}) {
          const std::size_t rope_dims = head_dim / 2 * 2 - less;
          CAPTURE(kv_type_name(type));
          CAPTURE(head_dim);
          CAPTURE(rope_dims);
          CAPTURE(biases);
          const RotateCase c({6, 2, head_dim, rope_dims, type, biases});
          in_each_order([&] { c.run_and_check(gpu); });
        }
      }
    }
  }
}

// Of all sizes that halves scale, and beyond.
TEST_CASE("kernels: what goes to pages of q8_0 is the CPU's, byte for byte") {
  constexpr std::size_t kHeads = 3;
  TestGpu gpu;
  for (const std::size_t head_dim : {15, 24, 33, 64, 80, 128}) {
    CAPTURE(head_dim);
    const KvLayout layout{.type = KvType::kQ8_0,
                          .layers = 1,
                          .kv_heads = kHeads,
                          .head_dim = head_dim,
                          .pages = kPages};
    std::vector<float> qkv = random_floats(kTokens * 3 * kHeads * head_dim, 5);
    for (std::size_t i = 0; i < qkv.size(); ++i) {
      const std::size_t group = i / 16;
      qkv[i] *= group % 9 == 4 ? 0.0f : std::ldexp(1.0f, static_cast<int>(group * 5 % 61) - 36);
      if (group % 31 == 8) qkv[i] = i % 2 == 0 ? INFINITY : NAN;
    }
    std::vector<std::byte> right(layout.layer_bytes(), std::byte{0xff});
    for (std::size_t t = 0; t < kTokens; ++t) {
      for (std::size_t head = 0; head < kHeads; ++head) {
        const float* key = &qkv[(t * 3 + 1) * kHeads * head_dim + head * head_dim];
        row_kernels().store(key, key + kHeads * head_dim,
                            static_cast<std::size_t>(kPositions[t]) % kPageTokens, layout,
                            right.data() +
                                static_cast<std::size_t>(kPageOf[t]) * layout.page_bytes() +
                                head * (layout.keys_bytes() + layout.values_bytes()));
      }
    }
    const DeviceArray<std::int32_t> positions(kPositions);
    const DeviceArray<std::int32_t> pages(kPageOf);
    const DeviceArray<float> rotations(std::size_t{1});
    in_each_order([&] {
      const DeviceArray<float> rows(qkv);
      const DeviceArray<std::byte> kv(layout.layer_bytes());
      const RotateArgs args{rows.data(),
                            kHeads,
                            0,
                            nullptr,
                            nullptr,
                            nullptr,
                            {kTokens, positions.data(), pages.data(), rotations.data()},
                            {layout, kv.data()}};
      gpu.run([&](Ops& ops, Stream& stream) { ops.rotate(stream, args); });
      CHECK(kv.values() == right);
    });
  }
}
