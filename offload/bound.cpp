#include "offload/bound.h"

#include <algorithm>
#include <array>

#include "layers/scratch.h"
#include "memory/units.h"

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
  const std::size_t key_bytes = model.config.layers * plan.kv.token_bytes();
  const double tokens_a_pass = static_cast<double>(work.tokens) / static_cast<double>(work.passes);
  return static_cast<double>(work.sequences * key_bytes) * keys_met(work) / tokens_a_pass;
}

// What one kind of arithmetic does at most, and its name.
struct Arithmetic {
  std::string_view name;
  double operations_per_second;
};

// Seconds by kind of arithmetic.
class Tally {
 public:
  void add(const Arithmetic& kind, double operations) {
    std::size_t i = 0;
    while (i < count_ && names_[i] != kind.name) ++i;
    if (i == count_) names_[count_++] = kind.name;
    seconds_[i] += operations / kind.operations_per_second;
  }

  // The kind that takes longest gives its name to all.
  Bound bound() const {
    Bound bound{0.0, names_[0]};
    double longest = 0.0;
    for (std::size_t i = 0; i < count_; ++i) {
      bound.seconds += seconds_[i];
      if (seconds_[i] > longest) {
        longest = seconds_[i];
        bound.by = names_[i];
      }
    }
    return bound;
  }

 private:
  static constexpr std::size_t kKinds = 3;
  std::array<std::string_view, kKinds> names_{};
  std::array<double, kKinds> seconds_{};
  std::size_t count_ = 0;
};

// `kind_of` tells the arithmetic of products with weights of a type.
template <typename KindOf>
Bound arithmetic(const ModelLayout& model, const PassWork& work, const KindOf& kind_of,
                 const Arithmetic& attention) {
  Tally tally;
  const auto all_tokens = static_cast<double>(work.tokens * work.sequences);
  for (const UnitInfo& unit : model.units) {
    const double rows =
        unit.kind == UnitKind::kHead ? static_cast<double>(work.logits) : all_tokens;
    for (const MatrixInfo& m : unit.matrices) {
      tally.add(kind_of(m.type()), 2.0 * static_cast<double>(m.rows() * m.columns()) * rows);
    }
  }
  const ModelConfig& c = model.config;
  tally.add(attention, 4.0 * static_cast<double>(c.query_width() * c.layers * work.sequences) *
                           keys_met(work));
  return tally.bound();
}

// Arithmetic, memory or link: whichever takes longest. What the host computes beside them counts
// for none, its arithmetic aside, which small passes have little of.
Bound longest(const ModelLayout& model, const Plan& plan, const PassWork& work, Bound bound,
              double read_bytes_per_second, double link_bytes_per_second) {
  const auto consider = [&](double seconds, std::string_view by) {
    if (seconds > bound.seconds) bound = {seconds, by};
  };
  const std::size_t pass_tokens = ceil_div(work.tokens * work.sequences, work.passes);
  const std::size_t route = plan.route_of(pass_tokens);
  const auto on_host = [&](std::size_t unit) { return plan.by_host(unit, route); };
  const double read_bytes =
      weight_bytes(model, work, [&](std::size_t unit) { return !on_host(unit); }) +
      cache_bytes(model, plan, work);
  consider(read_bytes / read_bytes_per_second, "read");
  const double link_bytes = weight_bytes(model, work, [&](std::size_t unit) {
    return is_outside(plan.placement[unit]) && !on_host(unit);
  });
  consider(link_bytes / link_bytes_per_second, "link");
  return bound;
}

}  // namespace

Bound bound_of(const ModelLayout& model, const Plan& plan, const MachineRates& rates,
               const LinkSpeed& link, const PassWork& work) {
  const Arithmetic fp32{"fp32", rates.fp32_per_second};
  const auto kind_of = [&](DType type) -> Arithmetic {
    const double rate = rates.operations_per_second(type);
    if (is_quantised(type)) return {"int8", rate};
    return type == DType::kBF16 && rates.bf16_per_second > 0.0 ? Arithmetic{"bf16", rate} : fp32;
  };
  return longest(model, plan, work, arithmetic(model, work, kind_of, fp32),
                 rates.read_bytes_per_second,
                 link.bytes_per_second > 0.0 ? link.bytes_per_second : rates.copy_bytes_per_second);
}

// Attention too is products of halves, which tensor cores could do.
Bound bound_of(const ModelLayout& model, const Plan& plan, const GpuRates& rates,
               const PassWork& work) {
  const Arithmetic tensor{"tensor", rates.tensor_operations_per_second};
  const Arithmetic fp32{"fp32", rates.f32_operations_per_second};
  const auto kind_of = [&](DType type) {
    return tile_type(type, plan.precision) == TileType::kF32 ? fp32 : tensor;
  };
  const bool wide = plan.precision == Precision::kHigh || plan.kv.type == KvType::kF32;
  return longest(model, plan, work, arithmetic(model, work, kind_of, wide ? fp32 : tensor),
                 rates.memory_bytes_per_second, rates.to_device.bytes_per_second);
}

}  // namespace sluice
