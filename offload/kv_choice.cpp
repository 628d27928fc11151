#include "offload/kv_choice.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "memory/error.h"

namespace sluice {
namespace {

constexpr double kWorth = 1.01;  // how much faster a less exact type has to be

KvType default_kv_type(const ModelLayout& model) {
  for (const UnitInfo& unit : model.units) {
    if (unit.kind != UnitKind::kAttention) continue;
    for (const MatrixInfo& m : unit.matrices) {
      if (m.type() != DType::kF32) return KvType::kF16;
    }
  }
  return KvType::kF32;
}

}  // namespace

std::vector<KvType> kv_types_of(const ModelLayout& model, const PlanLimits& limits) {
  if (limits.kv_types.empty()) return {default_kv_type(model)};
  std::vector<KvType> types;
  for (const KvType type : kAllKvTypes) {
    if (std::ranges::count(limits.kv_types, type) > 0) types.push_back(type);
  }
  return types;
}

Plans choose_kv(const std::vector<KvType>& types, const std::function<Plans(KvType)>& make) {
  std::vector<Plans> all;
  double least_seconds = std::numeric_limits<double>::infinity();
  for (const KvType type : types) {
    try {
      all.push_back(make(type));
    } catch (const Error& error) {
      // A type that takes less may still do, and has the better message if it doesn't.
      if (error.kind() != ErrorKind::kOverBudget || (type == types.back() && all.empty())) throw;
      continue;
    }
    least_seconds = std::min(least_seconds, all.back().fastest.predicted.seconds());
  }
  const auto chosen = std::ranges::find_if(all, [&](const Plans& plans) {
    return plans.fastest.predicted.seconds() <= kWorth * least_seconds;
  });
  Plans best = std::move(*chosen);
  all.erase(chosen);
  for (Plans& other : all) {
    const bool before =
        !best.runner_up || other.fastest.predicted.seconds() < best.runner_up->predicted.seconds();
    if (before) best.runner_up = std::move(other.fastest);
  }
  return best;
}

}  // namespace sluice
