#include "offload/budgeter.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "memory/error.h"
#include "memory/units.h"
#include "offload/cost_model.h"
#include "offload/host_budget.h"
#include "offload/schedule.h"

namespace sluice {
namespace {

constexpr std::size_t kDefaultSegmentTokens = 512;
constexpr std::size_t kDefaultSlots = 2;
constexpr std::size_t kMaxSlots = 4;
// Pieces smaller than this cost more in steps than they save in memory.
constexpr std::size_t kSmallSlotBytes = 64_KiB;
// Passes of more tokens than this are never the host's: any link brings weights sooner.
constexpr std::size_t kMostHostTokens = 64;
constexpr std::size_t kHostShares = 16;  // of the units that it could take, as many are tried
constexpr std::size_t kSlotSizes = 10;   // the largest unit, its half, ... before the smallest

KvType default_kv_type(const ModelLayout& model) {
  for (const UnitInfo& unit : model.units) {
    if (unit.kind != UnitKind::kAttention) continue;
    for (const MatrixInfo& m : unit.matrices) {
      if (m.type() != DType::kF32) return KvType::kF16;
    }
  }
  return KvType::kF32;
}

std::size_t largest_unit_bytes(const ModelLayout& model) {
  std::size_t largest = 0;
  for (const UnitInfo& unit : model.units) largest = std::max(largest, unit.size_bytes);
  return largest;
}

std::size_t smallest_slot_bytes(const ModelLayout& model) {
  std::size_t panel = 0;
  for (const UnitInfo& unit : model.units) panel = std::max(panel, largest_panel_bytes(unit));
  return align_up(std::min(std::max(panel, kSmallSlotBytes), largest_unit_bytes(model)));
}

double seconds(const Plan& plan) {
  return plan.predicted.prefill_seconds + plan.predicted.decode_seconds;
}

class Search {
 public:
  Search(const ModelLayout& model, const Workload& workload, const PlanLimits& limits)
      : model_(model),
        workload_(workload),
        limits_(limits),
        total_tokens_(std::max<std::size_t>(workload.prompt_tokens, 1) * workload.sequences) {}

  Plan smallest() const {
    if (limits_.in_place) return everything_resident(segments().back());
    Plan streamed = blank(segments().back());
    streamed.slots = limits_.slots.value_or(kDefaultSlots);
    streamed.slot_bytes = smallest_slot_bytes(model_);
    count_bytes(model_, streamed);
    // A model smaller than two slots is better kept.
    Plan resident = everything_resident(segments().back());
    return resident.bytes.total() < streamed.bytes.total() ? resident : streamed;
  }

  // The smallest plan; refused if the limit is smaller still.
  Plan require() const {
    Plan least = smallest();
    if (least.bytes.total() > limit()) refuse(least);
    return least;
  }

  Plan fastest(const Hardware& hardware) const {
    const Plan least = require();
    std::optional<Plan> best;
    const auto consider = [&](Plan plan) {
      plan.limit_bytes = limits_.device_bytes;
      if (!fit_host(model_, plan, limits_.host_bytes)) return false;
      plan.predicted = predict(model_, plan, make_schedule(model_, plan), hardware);
      if (!best || seconds(plan) < seconds(*best)) best = std::move(plan);
      return true;
    };
    for (const std::size_t segment : segments()) {
      Plan plan = everything_resident(segment);
      if (plan.bytes.total() <= limit()) {
        // Shorter segments only save memory.
        if (consider(std::move(plan)) && !limits_.segment_tokens) break;
      }
    }
    if (best) return *best;
    for (const std::size_t segment : segments()) {
      for (const std::size_t slot_bytes : slot_sizes()) {
        for (std::size_t slots = first_slots(); slots <= last_slots(); ++slots) {
          for (const bool head_first : {true, false}) {
            if (auto plan = filled(segment, slots, slot_bytes, head_first)) {
              consider(std::move(*plan));
            }
          }
        }
      }
    }
    if (!best && !consider(least)) {
      refuse_host(model_, least, everything_resident(segments().back()), *limits_.host_bytes);
    }
    if (!limits_.host_units && !limits_.gpu) return *best;
    const Plan streamed = *best;
    const std::vector<std::size_t> units = host_candidates(streamed);
    if (limits_.host_units) {
      consider_host(streamed, units, *limits_.host_units, hardware, best);
      return *best;
    }
    const std::size_t shares = std::min(kHostShares, units.size());
    for (std::size_t share = 1; share <= shares; ++share) {
      consider_host(streamed, units, units.size() * share / shares, hardware, best);
    }
    return *best;
  }

 private:
  // Segment lengths to try, longest first.
  std::vector<std::size_t> segments() const {
    if (limits_.segment_tokens) return {*limits_.segment_tokens};
    std::vector<std::size_t> lengths;
    for (std::size_t n = kDefaultSegmentTokens; n > 1; n /= 2) {
      // One that covers all tokens, and none longer.
      if (n / 2 < total_tokens_) lengths.push_back(std::min(n, total_tokens_));
    }
    lengths.push_back(1);
    return lengths;
  }

  std::vector<std::size_t> slot_sizes() const {
    std::vector<std::size_t> sizes;
    const std::size_t smallest = smallest_slot_bytes(model_);
    std::size_t bytes = align_up(largest_unit_bytes(model_));
    for (std::size_t i = 0; i < kSlotSizes && bytes > smallest; ++i, bytes = align_up(bytes / 2)) {
      sizes.push_back(bytes);
    }
    sizes.push_back(smallest);
    return sizes;
  }

  std::size_t first_slots() const { return limits_.slots.value_or(kDefaultSlots); }
  std::size_t last_slots() const { return limits_.slots.value_or(kMaxSlots); }

  Plan blank(std::size_t segment) const {
    Plan plan;
    plan.workload = workload_;
    plan.limit_bytes = limits_.device_bytes;
    plan.gpu = limits_.gpu;
    plan.bytes.context = limits_.context_bytes;
    plan.segment_tokens = segment;
    const ModelConfig& c = model_.config;
    plan.kv = {.type = limits_.kv_type.value_or(default_kv_type(model_)),
               .layers = c.layers,
               .kv_heads = c.kv_heads,
               .head_dim = c.head_dim,
               .pages = workload_.cache_pages()};
    plan.precision = limits_.precision.value_or(default_precision(model_));
    plan.placement.assign(model_.units.size(), Placement::kHost);
    return plan;
  }

  Plan everything_resident(std::size_t segment) const {
    Plan plan = blank(segment);
    plan.placement.assign(model_.units.size(),
                          limits_.in_place ? Placement::kInPlace : Placement::kResident);
    count_bytes(model_, plan);
    return plan;
  }

  // A plan with these slots, and as many units resident as fit beside them.
  std::optional<Plan> filled(std::size_t segment, std::size_t slots, std::size_t slot_bytes,
                             bool head_first) const {
    Plan plan = blank(segment);
    plan.slots = slots;
    plan.slot_bytes = slot_bytes;
    count_bytes(model_, plan);
    std::size_t used = plan.bytes.total();
    if (used > limit()) return std::nullopt;
    const std::size_t head = model_.units.size() - 1;
    std::vector<std::size_t> order = spread_order(head);
    order.insert(head_first ? order.begin() : order.end(), head);
    for (const std::size_t unit : order) {
      const std::size_t bytes = align_up(model_.units[unit].size_bytes);
      if (bytes > limit() - used) continue;
      plan.placement[unit] = Placement::kResident;
      used += bytes;
    }
    count_bytes(model_, plan);
    return plan;
  }

  // Streamed units that the host could compute instead: those of which nothing is on its way before
  // it is known how large a pass is.
  std::vector<std::size_t> host_candidates(const Plan& plan) const {
    const Schedule schedule = make_schedule(model_, plan);
    std::vector<std::size_t> units;
    for (std::size_t unit = 0; unit < model_.units.size(); ++unit) {
      if (!is_outside(plan.placement[unit])) continue;
      if (model_.units[unit].kind != UnitKind::kFeedForward) continue;
      if (!schedule.early(unit)) units.push_back(unit);
    }
    return units;
  }

  // `plan` with `count` of the candidates taken by the host, spread along the layers so that the
  // link always has something to bring meanwhile. Becomes the best if it is, or was asked for.
  void consider_host(Plan plan, const std::vector<std::size_t>& candidates, std::size_t count,
                     const Hardware& hardware, std::optional<Plan>& best) const {
    count = std::min(count, candidates.size());
    if (count == 0) return;
    const std::vector<std::size_t> order = spread_order(candidates.size());
    Route route{.tokens = kMostHostTokens, .by_host = std::vector<bool>(model_.units.size())};
    for (std::size_t i = 0; i < count; ++i) route.by_host[candidates[order[i]]] = true;
    plan.routes = {route};
    const std::size_t decode_tokens = std::min(workload_.sequences, plan.segment_tokens);
    const Schedule schedule = make_schedule(model_, plan);
    if (!limits_.host_units) plan.routes.front().tokens = host_tokens(plan, schedule, hardware);
    if (plan.host_tokens() < decode_tokens && !limits_.host_units) return;
    if (!fit_host(model_, plan, limits_.host_bytes)) return;
    plan.predicted = predict(model_, plan, make_schedule(model_, plan), hardware);
    if (limits_.host_units || seconds(plan) < seconds(*best)) best = std::move(plan);
  }

  // The largest passes that are faster with the host's help than without.
  std::size_t host_tokens(Plan plan, const Schedule& schedule, const Hardware& hardware) const {
    const std::size_t keys = workload_.prompt_tokens + workload_.max_tokens / 2;
    for (std::size_t tokens = kMostHostTokens; tokens > 0; tokens /= 2) {
      const auto pass = [&](std::size_t upto) {
        plan.routes.front().tokens = upto;
        return predict_pass_seconds(model_, plan, schedule, hardware, {tokens, keys, 1});
      };
      if (pass(tokens) < pass(0)) return tokens;
    }
    return 0;
  }

  std::size_t limit() const {
    return limits_.device_bytes.value_or(std::numeric_limits<std::size_t>::max());
  }

  [[noreturn]] void refuse(const Plan& least) const {
    const PlanBytes& b = least.bytes;
    throw Error(ErrorKind::kOverBudget,
                text("a limit of ", limit(), " bytes (", print_bytes(limit()),
                     ") can't be kept: the smallest that works here is ", b.total(), " bytes (",
                     print_bytes(b.total()), "): ", print_bytes(b.kv), " for ",
                     workload_.cache_tokens > 0 ? workload_.cache_tokens
                                                : workload_.sequences * workload_.context_tokens,
                     " tokens of context, ", print_bytes(b.slots), " for ", least.slots, " slots, ",
                     print_bytes(b.vectors + b.input + b.activations + b.logits + b.scratch),
                     " to compute in",
                     b.context == 0 ? "" : text(", ", print_bytes(b.context), " of the driver's"),
                     "; raise --vram", b.kv > b.slots ? " or lower --ctx" : ""));
  }

  const ModelLayout& model_;
  const Workload& workload_;
  const PlanLimits& limits_;
  const std::size_t total_tokens_;  // of all prompts; a pass should hold a token of each at least
};

}  // namespace

Plan make_plan(const ModelLayout& model, const Workload& workload, const PlanLimits& limits,
               const Hardware& hardware) {
  return Search(model, workload, limits).fastest(hardware);
}

void require_limit(const ModelLayout& model, const Workload& workload, const PlanLimits& limits) {
  Search(model, workload, limits).require();
}

std::size_t smallest_limit_bytes(const ModelLayout& model, const Workload& workload,
                                 const PlanLimits& limits) {
  return Search(model, workload, limits).smallest().bytes.total();
}

}  // namespace sluice
