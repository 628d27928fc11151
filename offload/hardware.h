// Rates of a machine, as the cost model takes them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "layers/gpu.h"
#include "layers/ops_cpu.h"
#include "layers/weights.h"
#include "memory/dtype.h"
#include "memory/kv_pages.h"
#include "memory/link.h"

namespace sluice {

// The place in arrays by precision.
constexpr std::size_t index_of(Precision precision) {
  return precision == Precision::kHigh ? 1 : 0;
}

// How long products with weights of one type take.
class ProductRate {
 public:
  // Passes of so many tokens are measured; others lie between.
  static constexpr std::array<std::size_t, 9> kTokens{1, 2, 4, 8, 16, 32, 64, 128, 256};

  ProductRate() = default;
  // Of a place that takes the longer of reading weights and multiplying them. A multiplication and
  // an addition are two operations.
  static ProductRate roofline(DType type, double bytes_per_second, double operations_per_second);

  using Table = std::array<double, kTokens.size()>;
  // Between two entries; beyond the last, in proportion.
  static double at(const Table& table, std::size_t tokens);
  // Where every token takes as long as one alone.
  static Table in_proportion(double seconds);

  Table seconds_per_byte{};  // of packed weights; [i] for kTokens[i]
  double seconds_per_byte_at(std::size_t tokens) const { return at(seconds_per_byte, tokens); }
  bool known() const { return seconds_per_byte[0] > 0.0; }
};

// Attention on a cache of some type, as shares of its rates on one of f16.
struct AttentionShares {
  double one_token = 1.0;  // where a pass brings one token of a sequence
  double many = 1.0;
};

// Of one place that computes. What is 0 costs nothing, or as much as what it is a case of.
struct ComputeRates {
  std::array<ProductRate, kDTypeCount> products{};
  ComputePace pace;  // products take this long at least
  // Attention where a pass brings one token of a sequence, and where it brings many; and where
  // there is too little of it for more than one thread. Of a cache of f16.
  double attention_one_token_operations_per_second = 0.0;
  double attention_operations_per_second = 0.0;
  double attention_alone_operations_per_second = 0.0;
  std::array<AttentionShares, kKvTypeCount> attention_shares{};  // by type of cache
  double sequence_seconds = 0.0;  // to begin with each of a pass's sequences but the first
  // Attention takes as long as reading keys and values at this rate, at least.
  double cache_bytes_per_second = 0.0;
  // Of the work beside products, for one value of every token of a pass; [i] for
  // ProductRate::kTokens[i]. Rotating, storing and beginning attention is told apart.
  ProductRate::Table element_seconds{};
  ProductRate::Table rotate_seconds{};
  double step_seconds = 0.0;        // to hand over one operation
  double graph_step_seconds = 0.0;  // of one in a graph; 0: not known, taken to be as long
  // For each piece that a product is cut into; [i] for ProductRate::kTokens[i].
  ProductRate::Table cut_seconds{};
  // While something is copied it computes at this share of its speed.
  double share_beside_copies = 1.0;
};

// Where the rates of a device come from.
enum class RatesFrom : std::uint8_t {
  kPlan,     // measured for the plan
  kProbe,    // measured by sluice probe
  kClocks,   // a GPU's data sheet, as its driver tells it
  kProfile,  // a named one's
};
constexpr std::string_view rates_from_name(RatesFrom from) {
  constexpr std::array<std::string_view, 4> kNames{"plan", "probe", "clocks", "profile"};
  return kNames[static_cast<std::size_t>(from)];
}

// A device, the host beside it, and the link between them.
struct Hardware {
  ComputeRates device;
  RatesFrom device_from = RatesFrom::kPlan;
  ComputeRates host;
  LinkSpeed to_device;
  LinkSpeed to_host;
  LinkSpeed disk;  // without a speed: unknown, and taken to cost nothing
  // At which the host's own cores copy what a paced link sends, as soon as there is a slot for it.
  // 0: others copy, for as long as the link is busy.
  double copy_bytes_per_second = 0.0;
  double wait_seconds = 0.0;   // that computing loses where it had to wait for a copy
  double turn_seconds = 0.0;   // that the device and a host thread lose by waiting for each other
  double pass_seconds = 0.0;   // between two passes, beside their steps
  double token_seconds = 0.0;  // to lay out one token of a pass
  double logit_seconds = 0.0;  // to summarise one logit, by the CPU
};

// Of a GPU, by what its clocks and widths would allow and what kernels usually get of that, beside
// a `host`.
Hardware gpu_hardware(const GpuRates& rates, Precision precision, const ComputeRates& host);

}  // namespace sluice
