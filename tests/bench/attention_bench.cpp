// Speed of attention on one thread, by type of cache, out of memory and out of near caches.
//
//   sluice_bench_kernels --benchmark_filter=attend --benchmark_repetitions=9
//     --benchmark_enable_random_interleaving=true --benchmark_report_aggregates_only=true
//
// bytes_per_second counts keys and values, `ops` a multiplication and an addition each.
#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "layers/ops.h"
#include "layers/row_kernels.h"
#include "memory/error.h"

namespace sluice {
namespace {

constexpr std::size_t kKeys = 2048;
constexpr std::size_t kFarBytes = 256_MiB;

struct Case {
  KvType type;
  std::size_t head_dim;
  std::size_t group;   // heads that share a key
  std::size_t tokens;  // attended together
  bool far;            // each run meets keys that no cache holds any more
};

// Heads one behind the other, as many as memory wants; all hold the same.
class Heads {
 public:
  explicit Heads(const Case& c)
      : layout_{.type = c.type,
                .layers = 1,
                .kv_heads = 1,
                .head_dim = c.head_dim,
                .pages = kKeys / kPageTokens},
        count_(c.far ? kFarBytes / layout_.total_bytes() : 1),
        bytes_(count_ * layout_.total_bytes()) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> row(2 * c.head_dim);
    for (std::size_t t = 0; t < kKeys; ++t) {
      for (float& value : row) value = normal(random);
      row_kernels().store(row.data(), row.data() + c.head_dim, t % kPageTokens, layout_,
                          bytes_.data() + t / kPageTokens * layout_.page_bytes());
    }
    for (std::size_t i = 1; i < count_; ++i) {
      std::copy_n(bytes_.begin(), layout_.total_bytes(),
                  bytes_.begin() + static_cast<std::ptrdiff_t>(i * layout_.total_bytes()));
    }
    for (std::size_t p = 0; p < layout_.pages; ++p) table_.push_back(static_cast<std::int32_t>(p));
  }

  const KvLayout& layout() const { return layout_; }
  const std::int32_t* table() const { return table_.data(); }
  const std::byte* take() { return bytes_.data() + next_++ % count_ * layout_.total_bytes(); }

 private:
  KvLayout layout_;
  std::size_t count_;
  std::size_t next_ = 0;
  std::vector<std::byte> bytes_;
  std::vector<std::int32_t> table_;
};

void attend(benchmark::State& state, const Case& c) {
  Heads heads(c);
  const std::size_t row = c.group * c.head_dim;
  const std::vector<float> queries(c.tokens * row, 0.1f);
  std::vector<float> out(queries.size());
  std::vector<float> scratch(attend_scratch_floats(heads.layout(), c.tokens * c.group));
  for (auto _ : state) {
    row_kernels().attend({.queries = queries.data(),
                          .query_stride = row,
                          .tokens = c.tokens,
                          .group = c.group,
                          .first_position = kKeys - c.tokens,
                          .pages = heads.table(),
                          .head = heads.take(),
                          .layout = heads.layout(),
                          .out = out.data(),
                          .out_stride = row,
                          .scratch = scratch.data()});
    benchmark::DoNotOptimize(out.data());
  }
  const auto runs = static_cast<double>(state.iterations());
  const auto token_bytes = static_cast<double>(heads.layout().token_bytes());
  state.SetBytesProcessed(static_cast<std::int64_t>(runs * token_bytes * kKeys));
  state.counters["ops"] = benchmark::Counter(
      runs * 4.0 * static_cast<double>(queries.size() * kKeys), benchmark::Counter::kIsRate);
}

const bool kRegistered = [] {
  for (const bool far : {true, false}) {
    for (const std::size_t head_dim : {64, 128}) {
      for (const std::size_t group : {1, 3, 4, 8}) {
        for (const std::size_t tokens : {std::size_t{1}, query_block_tokens(group)}) {
          for (const KvType type : kAllKvTypes) {
            const std::string name = text("attend ", far ? "far " : "near ", head_dim, " x ", group,
                                          ", ", tokens, " tokens ", kv_type_name(type));
            const Case c{type, head_dim, group, tokens, far};
            benchmark::RegisterBenchmark(name.c_str(), [c](auto& state) { attend(state, c); });
          }
        }
      }
    }
  }
  return true;
}();

}  // namespace
}  // namespace sluice
