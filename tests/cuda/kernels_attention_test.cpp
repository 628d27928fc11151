// Attention over pages, against a softmax in double precision.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "layers/scratch.h"
#include "memory/error.h"
#include "tests/cuda/kernels_attention_fixture.h"

using namespace sluice;
using namespace sluice::testing;

namespace {

constexpr std::size_t kChunkKeys = kChunkPages * kPageTokens;
// As the values are of size 1: what f32 loses, and what weights lose that are rounded to halves.
constexpr double kTolerance = 3e-5;
constexpr double kHalfTolerance = 8e-4;

// Memory for states of `rows` tokens x chunks; of none, chunks are met together.
void lend_states(TestGpu& gpu, const AttentionCase& c, std::size_t rows) {
  const std::size_t floats = rows * attention_state_floats(c.heads, c.shape.head_dim);
  gpu.lend({.state_rows = rows, .state_bytes = floats * sizeof(float)}, Precision::kNormal);
}

// [tokens, heads * head_dim]
std::vector<float> attend(TestGpu& gpu, const AttentionCase& c) {
  const DeviceArray<std::int32_t> table(c.table);
  const DeviceArray<std::byte> block_bytes(c.blocks.size() * sizeof(QueryBlock));
  std::memcpy(block_bytes.data(), c.blocks.data(), block_bytes.size());
  const std::size_t row_bytes = activation_row_bytes(ActivationForm::kF32, c.columns());
  const DeviceArray<std::byte> out(c.tokens * row_bytes);
  AttentionArgs args{};
  args.qkv = c.qkv.data();
  args.heads = c.heads;
  args.blocks = reinterpret_cast<const QueryBlock*>(block_bytes.data());
  args.block_count = c.blocks.size();
  args.tokens = c.tokens;
  args.keys = c.longest;
  args.page_table = table.data();
  args.table_pages = table.size();
  args.kv = {c.layout, c.pages.data()};
  args.out[ActivationForm::kF32] = out.data();
  gpu.run([&](Ops& ops, Stream& stream) { ops.attend(stream, args); });
  std::vector<float> all;
  bool gaps_untouched = true;
  for (std::size_t t = 0; t < c.tokens; ++t) {
    const std::byte* row = out.data() + t * row_bytes;
    const auto* floats = reinterpret_cast<const float*>(row);
    all.insert(all.end(), floats, floats + c.columns());
    for (std::size_t b = c.columns() * sizeof(float); b < row_bytes; ++b) {
      gaps_untouched &= row[b] == std::byte{0xff};
    }
  }
  CHECK(gaps_untouched);
  return all;
}

double distance(const std::vector<double>& wanted, const float* got) {
  double worst = 0.0;
  for (std::size_t d = 0; d < wanted.size(); ++d) {
    const double error = std::abs(got[d] - wanted[d]);
    worst = std::isnan(error) ? INFINITY : std::max(worst, error);
  }
  return worst;
}

// The largest error in every head of some tokens, the first and last of each part and a few
// between: a share of what f32 may lose; or of what halves may, where pages are no wider and there
// are queries enough for the tensor cores.
double worst_error(const AttentionCase& c, std::span<const float> out) {
  const bool halves = c.shape.type != KvType::kF32 && c.tokens > 1;
  double worst = 0.0;
  std::size_t token = 0;
  for (std::size_t part = 0; part < c.parts.size(); ++part) {
    const std::size_t count = c.parts[part].tokens;
    for (std::size_t t = 0; t < count; ++t, ++token) {
      if (count > 40 && t % 13 != 0 && t + 1 != count) continue;
      for (std::size_t head = 0; head < c.heads; ++head) {
        const float* got = &out[token * c.columns() + head * c.shape.head_dim];
        double error = distance(c.truth(part, t, head, token, false), got) / kTolerance;
        if (halves && !(error < 1.0)) {
          error = distance(c.truth(part, t, head, token, true), got) / kHalfTolerance;
        }
        worst = std::max(worst, error);
      }
    }
  }
  return worst;
}

void check_right(const AttentionCase& c, std::span<const float> out) {
  CHECK(worst_error(c, out) < 1.0);
}

void check_in_each_order(const AttentionShape& shape, const std::vector<AttentionPart>& parts) {
  CAPTURE(shape.head_dim);
  CAPTURE(shape.kv_heads);
  CAPTURE(shape.group);
  CAPTURE(kv_type_name(shape.type));
  CAPTURE(parts.front().first_position);
  CAPTURE(parts.front().tokens);
  TestGpu gpu;
  const AttentionCase c(shape, parts);
  lend_states(gpu, c, 0);
  std::vector<float> first;
  in_each_order([&] {
    const std::vector<float> out = attend(gpu, c);
    if (first.empty()) {
      check_right(c, out);
      first = out;
    }
    CHECK(same_bits(out, first));
  });
}

}  // namespace

TEST_CASE(
    "kernels: attention is a softmax over all keys so far, for every size of head and group") {
  for (const KvType type : kAllKvTypes) {
    for (const std::size_t head_dim : {24, 64, 80, 96, 128, 256}) {
      for (const std::size_t group : {1, 2, 3, 4, 5, 6, 7, 8}) {
        check_in_each_order({head_dim, group % 2 + 1, group, type},
                            {{group * 23, 3}, {0, 1}, {0, gpu_query_block_tokens(group)}});
      }
    }
  }
}

TEST_CASE("kernels: attention is right for every number of keys around pages and chunks") {
  for (const KvType type : kAllKvTypes) {
    for (const std::size_t keys : {1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 300}) {
      check_in_each_order({64, 1, 3, type}, {{keys - 1, 1}});
      if (keys > 5) check_in_each_order({64, 1, 1, type}, {{keys - 5, 5}});
    }
  }
  for (const std::size_t keys : {511, 512, 513, 576, 577, 1023, 1024, 1025, 1600}) {
    check_in_each_order({64, 1, 4, KvType::kF16}, {{keys - 1, 1}});
  }
}

TEST_CASE("kernels: attention of whole prompts is right, over pages and several chunks") {
  check_in_each_order({64, 2, 3, KvType::kF16}, {{0, 150}});
  check_in_each_order({80, 1, 4, KvType::kF32}, {{0, 70}, {130, 40}});
  check_in_each_order({128, 1, 2, KvType::kF16}, {{470, 60}});
  check_in_each_order({80, 2, 3, KvType::kQ8_0}, {{0, 70}, {130, 40}});
  check_in_each_order({128, 1, 2, KvType::kQ8_0}, {{470, 60}});
}

TEST_CASE("kernels: attention is right for numbers of keys up to 513" *
          doctest::test_suite("slow")) {
  for (const KvType type : kAllKvTypes) {
    for (std::size_t keys = 1; keys <= kChunkKeys + 1; keys += keys < 130 ? 1 : 6) {
      const std::size_t tokens = std::min<std::size_t>(keys, keys % 9 + 1);
      check_in_each_order({keys % 2 == 0 ? 64ul : 96ul, 1, keys % 8 + 1, type},
                          {{keys - tokens, tokens}});
    }
  }
}

TEST_CASE("kernels: attention takes heads of 512 values, and refuses larger ones") {
  check_in_each_order({300, 1, 2, KvType::kF16}, {{70, 9}});
  check_in_each_order({512, 1, 2, KvType::kF32}, {{60, 9}});
  check_in_each_order({300, 1, 2, KvType::kQ8_0}, {{70, 9}});
  TestGpu gpu;
  const AttentionCase c({528, 1, 1, KvType::kF16}, {{0, 1}});
  lend_states(gpu, c, 0);
  CHECK_THROWS_WITH_AS(attend(gpu, c), doctest::Contains("--device cpu"), Error);
}

TEST_CASE("kernels: attention of a step of several sequences is right, whatever their lengths") {
  for (const KvType type : kAllKvTypes) {
    check_in_each_order({64, 2, 3, type}, {{0, 1}, {699, 1}, {63, 1}, {64, 1}, {511, 1}, {512, 1}});
  }
}

TEST_CASE("kernels: chunks met apart and met together give the same bits") {
  struct Apart {
    AttentionShape shape;
    std::vector<AttentionPart> parts;
  };
  const std::vector<Apart> cases = {
      {{64, 1, 8, KvType::kF16}, {{512, 1}}},
      {{80, 2, 3, KvType::kF32}, {{1100, 1}, {30, 1}}},
      {{128, 1, 4, KvType::kF16}, {{1024, 5}}},
      {{256, 1, 2, KvType::kF16}, {{700, 1}, {511, 2}, {0, 3}}},
      {{96, 1, 5, KvType::kF32}, {{1535, 2}}},
      {{80, 2, 3, KvType::kQ8_0}, {{1100, 1}, {30, 1}}},
      {{256, 1, 2, KvType::kQ8_0}, {{700, 1}, {511, 2}, {0, 3}}},
  };
  for (const Apart& each : cases) {
    CAPTURE(each.shape.head_dim);
    TestGpu gpu;
    const AttentionCase c(each.shape, each.parts);
    lend_states(gpu, c, 0);
    const std::vector<float> together = attend(gpu, c);
    check_right(c, together);
    lend_states(gpu, c, c.tokens * ceil_div(c.longest, kChunkKeys));
    in_each_order([&] {
      const std::vector<float> apart = attend(gpu, c);
      check_right(c, apart);
      CHECK(same_bits(together, apart));
    });
  }
}

TEST_CASE("kernels: a sequence's next token has the same bits, whatever else is in the call") {
  for (const KvType type : kAllKvTypes) {
    for (const std::size_t group : {1, 3, 8}) {
      CAPTURE(kv_type_name(type));
      CAPTURE(group);
      TestGpu gpu;
      const AttentionShape shape{64, 2, group, type};
      const AttentionCase alone(shape, {{700, 1}});
      const AttentionCase beside(shape, {{700, 1}, {0, 40}});
      lend_states(gpu, alone, 2);
      const std::vector<float> first = attend(gpu, alone);
      std::vector<float> again = attend(gpu, beside);
      again.resize(first.size());
      CHECK(same_bits(first, again));
    }
  }
}

// Of sixteen queries or more each: smaller blocks have a kernel of their own.
TEST_CASE("kernels: a token's attention has the same bits, however a prompt is cut into blocks") {
  for (const KvType type : kAllKvTypes) {
    CAPTURE(kv_type_name(type));
    TestGpu gpu;
    AttentionCase c({64, 1, 3, type}, {{600, 21}});
    lend_states(gpu, c, 0);
    const std::vector<float> together = attend(gpu, c);
    for (const std::int32_t size : {7, 11, 14}) {
      CAPTURE(size);
      c.blocks.clear();
      for (std::int32_t t = 0; t < 21; t += size) {
        c.blocks.push_back({t, std::min(size, 21 - t), 600 + t, 0});
      }
      CHECK(same_bits(attend(gpu, c), together));
    }
  }
}

TEST_CASE("kernels: attention's other forms are the bits that the CPU makes of its f32") {
  constexpr AttentionShape kShape{64, 1, 2, KvType::kF16};
  TestGpu gpu;
  const AttentionCase c(kShape, {{40, 2}});
  lend_states(gpu, c, 0);
  const DeviceArray<std::int32_t> table(c.table);
  const DeviceArray<std::byte> blocks(sizeof(QueryBlock));
  std::memcpy(blocks.data(), c.blocks.data(), blocks.size());
  AttentionArgs args{c.qkv.data(),
                     c.heads,
                     reinterpret_cast<const QueryBlock*>(blocks.data()),
                     1,
                     2,
                     c.longest,
                     table.data(),
                     table.size(),
                     {c.layout, c.pages.data()},
                     {}};
  std::vector<std::unique_ptr<DeviceArray<std::byte>>> memory;
  for (std::size_t f = 0; f < kActivationForms; ++f) {
    const auto form = static_cast<ActivationForm>(f);
    const std::size_t bytes = 2 * activation_row_bytes(form, c.columns());
    memory.push_back(std::make_unique<DeviceArray<std::byte>>(bytes));
    args.out[form] = memory.back()->data();
  }
  gpu.run([&](Ops& ops, Stream& stream) { ops.attend(stream, args); });
  for (std::size_t f = 1; f < kActivationForms; ++f) {
    const auto form = static_cast<ActivationForm>(f);
    for (std::size_t t = 0; t < 2; ++t) {
      std::vector<std::byte> right(activation_row_bytes(form, c.columns()), std::byte{0xff});
      convert_activations(form, args.out.f32(t, c.columns()), c.columns(), right.data());
      CHECK(std::memcmp(args.out.row(form, t, c.columns()), right.data(), right.size()) == 0);
    }
  }
}
