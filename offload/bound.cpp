#include "offload/bound.h"

#include <algorithm>
#include <array>

namespace sluice {
namespace {

// Sums that fit doubles: keys that all tokens of a sequence meet.
double keys_met(const PassWork& work) {
  const auto tokens = static_cast<double>(work.tokens);
  return tokens * static_cast<double>(work.first_key) + tokens * (tokens + 1.0) / 2.0;
}

// Of the units that `counts`, in all passes; the head is run in passes with logits only.
template <typename Counts>
double weight_bytes(const ModelLayout& model, const PassWork& work, const Counts& counts) {
  double bytes = 0.0;
  for (std::size_t u = 0; u < model.units.size(); ++u) {
    const UnitInfo& unit = model.units[u];
    const bool head = unit.kind == UnitKind::kHead;
    const std::size_t times = head ? std::min(work.passes, work.logits) : work.passes;
    if (counts(u)) bytes += static_cast<double>(times * unit.size_bytes);
  }
  return bytes;
}

// A pass reads each key and value once, however many tokens meet it.
double cache_bytes(const ModelLayout& model, const Plan& plan, const PassWork& work) {
  const ModelConfig& c = model.config;
  const std::size_t key_bytes = 2 * c.kv_width() * c.layers * plan.kv.value_bytes();
  const double tokens_a_pass = static_cast<double>(work.tokens) / static_cast<double>(work.passes);
  return static_cast<double>(work.sequences * key_bytes) * keys_met(work) / tokens_a_pass;
}

// The kind of arithmetic that takes longest gives its name to all.
Bound arithmetic(const ModelLayout& model, const MachineRates& rates, const PassWork& work) {
  enum { kInt8, kBf16, kFp32, kKinds };
  constexpr std::array<std::string_view, kKinds> kNames = {"int8", "bf16", "fp32"};
  std::array<double, kKinds> seconds{};
  const auto all_tokens = static_cast<double>(work.tokens * work.sequences);
  for (const UnitInfo& unit : model.units) {
    const double rows =
        unit.kind == UnitKind::kHead ? static_cast<double>(work.logits) : all_tokens;
    for (const MatrixInfo& m : unit.matrices) {
      const int kind = is_quantised(m.type())                                    ? kInt8
                       : m.type() == DType::kBF16 && rates.bf16_per_second > 0.0 ? kBf16
                                                                                 : kFp32;
      seconds[kind] += 2.0 * static_cast<double>(m.rows() * m.columns()) * rows /
                       rates.operations_per_second(m.type());
    }
  }
  const ModelConfig& c = model.config;
  seconds[kFp32] += 4.0 * static_cast<double>(c.query_width() * c.layers * work.sequences) *
                    keys_met(work) / rates.fp32_per_second;
  double total = 0.0;
  for (const double part : seconds) total += part;
  return {total, kNames[std::max_element(seconds.begin(), seconds.end()) - seconds.begin()]};
}

}  // namespace

Bound bound_of(const ModelLayout& model, const Plan& plan, const MachineRates& rates,
               const LinkSpeed& link, const PassWork& work) {
  Bound bound = arithmetic(model, rates, work);
  const auto consider = [&](double seconds, std::string_view by) {
    if (seconds > bound.seconds) bound = {seconds, by};
  };
  const double read_bytes =
      weight_bytes(model, work, [](std::size_t) { return true; }) + cache_bytes(model, plan, work);
  consider(read_bytes / rates.read_bytes_per_second, "read");
  const double link_rate =
      link.bytes_per_second > 0.0 ? link.bytes_per_second : rates.copy_bytes_per_second;
  const double link_bytes = weight_bytes(
      model, work, [&](std::size_t unit) { return plan.placement[unit] == Placement::kStreamed; });
  consider(link_bytes / link_rate, "link");
  return bound;
}

}  // namespace sluice
