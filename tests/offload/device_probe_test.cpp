// What a device is given to measure it by: here one that computes nothing, and so takes no time.
#include "offload/device_probe.h"

#include <doctest/doctest.h>

#include <set>
#include <vector>

#include "memory/device_sim.h"
#include "memory/packed.h"

using namespace sluice;

namespace {

// Sees that all it is given lies in the memory that may be used, and what was asked for.
class NoOps final : public Ops {
 public:
  explicit NoOps(const std::byte* memory) : memory_(memory) {}

  void use_scratch(std::byte* begin, const ScratchSizes& sizes, Precision) override {
    check(begin, sizes.total());
    scratch_tile_bytes_ = sizes.activation_tile_bytes;
  }
  void norm(Stream&, const NormArgs& a) override {
    check(a.in, a.tokens * a.columns * sizeof(float));
    check(a.weight, a.columns * sizeof(float));
    check_forms(a.out, a.tokens, a.columns);
  }
  void product(Stream&, const ProductBatch& batch) override {
    for (std::size_t i = 0; i < batch.count; ++i) {
      const ProductArgs& a = batch.products[i];
      check(a.panels, packed_bytes(a.type, a.rows, a.columns));
      check(a.in, a.tokens * activation_row_bytes(a.form, a.columns));
      check(a.out, ((a.tokens - 1) * a.out_stride + a.rows) * sizeof(float));
      if (a.tokens * a.columns * sizeof(float) > scratch_tile_bytes_) ++outside;
      if (a.panels == last_panels_) ++read_again;
      last_panels_ = a.panels;
      product_bytes = std::max(product_bytes, packed_bytes(a.type, a.rows, a.columns));
      kinds.insert({static_cast<std::size_t>(a.type), a.tokens});
    }
  }
  void rotate(Stream&, const RotateArgs& a) override {
    const KvLayout& kv = a.kv.layout;
    check(a.qkv, a.places.tokens * (a.heads + 2 * kv.kv_heads) * kv.head_dim * sizeof(float));
    check(a.kv.layer, kv.total_bytes());
    for (std::size_t t = 0; t < a.places.tokens; ++t) check_page(a.places.pages[t], kv);
  }
  void attend(Stream&, const AttentionArgs& a) override {
    const KvLayout& kv = a.kv.layout;
    check(a.qkv, a.tokens * (a.heads + 2 * kv.kv_heads) * kv.head_dim * sizeof(float));
    check(a.kv.layer, kv.total_bytes());
    check(a.page_table, a.table_pages * sizeof(std::int32_t));
    check_forms(a.out, a.tokens, a.heads * kv.head_dim);
    std::size_t tokens = 0;
    std::set<std::int32_t> first_pages;
    for (std::size_t b = 0; b < a.block_count; ++b) {
      const QueryBlock& block = a.blocks[b];
      tokens += static_cast<std::size_t>(block.tokens);
      first_pages.insert(block.first_page);
      const auto last = static_cast<std::size_t>(block.first_position + block.tokens - 1);
      if (last >= a.keys) ++outside;
      check_page(a.page_table[static_cast<std::size_t>(block.first_page) + last / kPageTokens], kv);
    }
    if (tokens != a.tokens) ++outside;
    sequences = std::max(sequences, first_pages.size());
  }
  void swiglu(Stream&, const SwiGluArgs& a) override {
    check(a.gate_up, a.tokens * 2 * a.columns * sizeof(float));
    check_forms(a.out, a.tokens, a.columns);
  }
  void summarise(Stream&, const SummariseArgs&) override { FAIL("not asked for"); }
  void add_bias(Stream&, const BiasArgs& a) override {
    check(a.io, a.tokens * a.columns * sizeof(float));
    check(a.bias, a.columns * sizeof(float));
  }

  std::size_t outside = 0;
  std::size_t read_again = 0;  // products with the weights of the one before
  std::size_t product_bytes = 0;
  std::size_t sequences = 0;
  std::set<std::pair<std::size_t, std::size_t>> kinds;  // types and tokens of products

 private:
  void check(const void* begin, std::size_t bytes) {
    const auto* at = static_cast<const std::byte*>(begin);
    if (at < memory_ || at + bytes > memory_ + kDeviceProbeBytes) ++outside;
  }
  void check_forms(const Activations& out, std::size_t tokens, std::size_t columns) {
    for (std::size_t i = 0; i < kActivationForms; ++i) {
      const auto form = static_cast<ActivationForm>(i);
      if (!out.wants(form)) continue;
      check(out.row(form, 0, columns), tokens * activation_row_bytes(form, columns));
    }
  }
  void check_page(std::int32_t page, const KvLayout& kv) {
    if (page < 0 || static_cast<std::size_t>(page) >= kv.pages) ++outside;
  }

  const std::byte* memory_;
  const std::byte* last_panels_ = nullptr;
  std::size_t scratch_tile_bytes_ = 0;
};

}  // namespace

TEST_CASE("device probe: a fast device is given large matrices, all inside the memory it may use") {
  DeviceSim sim({.limit_bytes = kDeviceProbeBytes});
  std::byte* memory = sim.reserve(kDeviceProbeBytes);
  NoOps ops(memory);
  const DeviceRates rates = measure_device(sim, ops, memory, [] {});
  CHECK(ops.outside == 0);
  CHECK(ops.read_again == 0);
  CHECK(ops.product_bytes > 100_MiB);
  CHECK(ops.sequences == 8);
  CHECK(ops.kinds.size() == kDTypeCount * ProductRate::kTokens.size());
  CHECK(rates.compute[0].products[0].known());
}
