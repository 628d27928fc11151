// Rotation of queries and keys, and what it leaves in pages.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "memory/quant.h"
#include "tests/cuda/kernels_fixture.h"
#include "tests/support/random_weights.h"

using namespace sluice;
using namespace sluice::tests;

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

  double stored(const DeviceArray<std::byte>& kv, std::size_t at) const {
    if (r_.type == KvType::kF32) {
      float value = 0.0f;
      std::memcpy(&value, kv.data() + at * sizeof(value), sizeof(value));
      return value;
    }
    std::uint16_t bits = 0;
    std::memcpy(&bits, kv.data() + at * sizeof(bits), sizeof(bits));
    return half_to_float(bits);
  }

  // Keys and values are where they belong, and every other byte of the pages is as it was.
  void check_pages(const DeviceArray<std::byte>& kv) const {
    const std::size_t bytes = layout_.value_bytes();
    const std::size_t stride = layout_.value_stride();
    std::vector<double> right(layout_.layer_bytes() / bytes, NAN);
    for (std::size_t t = 0; t < kTokens; ++t) {
      const std::size_t slot = static_cast<std::size_t>(kPositions[t]) % kPageTokens;
      for (std::size_t head = 0; head < r_.kv_heads; ++head) {
        const std::size_t keys = (static_cast<std::size_t>(kPageOf[t]) * layout_.page_bytes() +
                                  head * (layout_.keys_bytes() + layout_.values_bytes())) /
                                 bytes;
        const std::size_t values = keys + layout_.keys_bytes() / bytes + slot * stride;
        for (std::size_t d = 0; d < stride; ++d) {
          const bool gap = d >= r_.head_dim;
          right[values + d] = gap ? 0.0 : wanted(t, r_.heads + r_.kv_heads + head, d);
          if (!gap) right[keys + d * kPageTokens + slot] = wanted(t, r_.heads + head, d);
        }
      }
    }
    const double tolerance = r_.type == KvType::kF16 ? 6e-4 : 1e-6;
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < right.size(); ++i) {
      const double got = stored(kv, i);
      const bool good = std::isnan(right[i])
                            ? std::isnan(got)
                            : std::abs(got - right[i]) <= tolerance * (1.0 + std::abs(right[i]));
      if (!good) ++wrong;
    }
    CHECK(wrong == 0);
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
  for (const KvType type : {KvType::kF16, KvType::kF32}) {
    for (const std::size_t head_dim : {15, 24, 64, 80, 96, 128, 256}) {
      for (const std::size_t less : {0, 8}) {
        for (const bool biases : {false, true}) {
          const std::size_t rope_dims = head_dim / 2 * 2 - less;
          CAPTURE(static_cast<int>(type));
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
