#include "offload/budgeter.h"

#include <algorithm>
#include <optional>
#include <string>

#include "memory/error.h"
#include "memory/units.h"
#include "offload/best_plan.h"
#include "offload/host_budget.h"
#include "offload/kv_choice.h"
#include "offload/plan_request.h"
#include "offload/plan_sizes.h"
#include "offload/streaming_search.h"

namespace sluice {
namespace {

class Search {
 public:
  Search(const ModelLayout& model, const Workload& workload, const PlanLimits& limits, KvType kv)
      : request_{model, workload, limits, kv},
        model_(model),
        workload_(workload),
        limits_(limits) {}

  // Of the device; but for what host memory has no room for, if it has for anything.
  Plan smallest() const {
    std::vector<Plan> least = least_plans();
    const auto too_large = [&](const Plan& plan) {
      return limits_.host_bytes && smallest_host_bytes(model_, plan) > *limits_.host_bytes;
    };
    if (!std::ranges::all_of(least, too_large)) std::erase_if(least, too_large);
    return *std::ranges::min_element(least, {}, [](const Plan& p) { return p.bytes.total(); });
  }

  bool possible() const { return request_.fits(smallest()); }

  // Refuses limits that no plan keeps.
  void require() const {
    if (possible()) return;
    const std::vector<Plan> fitting = fitting_least_plans();
    if (fitting.empty()) refuse(smallest());
    refuse_host(model_, fitting, *limits_.host_bytes);
  }

  Plans fastest(const Hardware& hardware) const {
    require();
    BestPlan best(model_, limits_, hardware);
    const std::size_t fewest_caches = all_host_caches(model_, limits_).front();
    for (const std::size_t segment : request_.segments()) {
      std::optional<Plan> plan = resident_within(segment);
      if (!plan) continue;
      const bool as_can_be = plan->host_kv.layers == fewest_caches;
      for (const std::size_t cache_slots : cache_slot_counts(limits_, plan->host_kv.layers)) {
        Plan other = *plan;
        other.cache_slots = cache_slots;
        count_slots(other);
        if (request_.fits(other)) best.consider(std::move(other));
      }
      if (as_can_be && best.found()) break;  // shorter segments only save memory
    }
    if (limits_.in_place) return {best.plan(), std::nullopt};
    // With everything on the device and segments as long as they need be, nothing is left to gain.
    if (best.found() && best.plan().segment_tokens == request_.segments().front() &&
        best.plan().host_kv.layers == fewest_caches) {
      return {best.plan(), std::nullopt};
    }
    StreamingSearch streaming(request_, hardware, best);
    streaming.consider_all();
    if (best.found()) {
      streaming.consider_others();
    } else {
      consider_least(best);
    }
    best.refine();
    return {best.plan(), best.runner_up()};
  }

 private:
  bool may_be_resident() const {
    return limits_.resident_units.value_or(model_.units.size()) == model_.units.size() &&
           std::ranges::all_of(limits_.pins,
                               [](Pin pin) { return pin == Pin::kNone || pin == Pin::kResident; });
  }

  // Those resident that are pinned, and the smallest of others if so many have to be.
  void place_least(Plan& plan) const {
    std::vector<std::size_t> free;
    std::size_t resident = 0;
    for (std::size_t unit = 0; unit < plan.placement.size(); ++unit) {
      const Pin pin = limits_.pin(unit);
      if (pin == Pin::kNone) free.push_back(unit);
      if (pin != Pin::kResident) continue;
      plan.placement[unit] = Placement::kResident;
      ++resident;
    }
    std::ranges::stable_sort(free, {}, [&](std::size_t u) { return model_.units[u].size_bytes; });
    for (std::size_t i = 0; i < free.size() && resident < limits_.resident_units.value_or(0); ++i) {
      plan.placement[free[i]] = Placement::kResident;
      ++resident;
    }
  }

  bool fixes_residents() const {
    return limits_.resident_units.value_or(0) > 0 ||
           std::ranges::count(limits_.pins, Pin::kResident) > 0;
  }

  // All units, and no more caches in host memory than that takes.
  std::optional<Plan> resident_within(std::size_t segment) const {
    if (!may_be_resident()) return std::nullopt;
    for (const std::size_t host_caches : all_host_caches(model_, limits_)) {
      Plan plan = everything_resident(segment, host_caches);
      if (request_.fits(plan)) return plan;
    }
    return std::nullopt;
  }

  // Plans that take least, of the device or of the host; the device's most first.
  std::vector<Plan> least_plans() const {
    std::vector<Plan> least;
    for (const std::size_t host_caches : all_host_caches(model_, limits_)) {
      Plan streamed = request_.blank(request_.segments().back(), host_caches);
      streamed.slots = limits_.slots.value_or(kDefaultSlots);
      streamed.slot_bytes = smallest_slot_bytes(model_);
      place_least(streamed);
      count_bytes(model_, streamed);
      if (!limits_.in_place) least.push_back(std::move(streamed));
      // A model smaller than two slots is better kept.
      if (may_be_resident()) {
        least.push_back(everything_resident(request_.segments().back(), host_caches));
      }
    }
    return least;
  }

  std::vector<Plan> fitting_least_plans() const {
    std::vector<Plan> least = least_plans();
    std::erase_if(least, [&](const Plan& plan) { return !request_.fits(plan); });
    return least;
  }

  // The first of them that host memory has room for.
  void consider_least(BestPlan& best) const {
    const std::vector<Plan> least = fitting_least_plans();
    for (const Plan& plan : least) {
      if (!best.found()) best.consider(plan);
    }
    if (!best.found()) refuse_host(model_, least, *limits_.host_bytes);
  }

  Plan everything_resident(std::size_t segment, std::size_t host_caches) const {
    Plan plan = request_.blank(segment, host_caches);
    plan.placement.assign(model_.units.size(),
                          limits_.in_place ? Placement::kInPlace : Placement::kResident);
    count_bytes(model_, plan);
    return plan;
  }

  [[noreturn]] void refuse(const Plan& least) const {
    const PlanBytes& b = least.bytes;
    throw Error(
        ErrorKind::kOverBudget,
        text("a limit of ", limits_.most_device_bytes(), " bytes (",
             print_bytes(limits_.most_device_bytes()),
             ") can't be kept: the smallest that works here is ", b.total(), " bytes (",
             print_bytes(b.total()), "): ", print_bytes(b.kv), " for ",
             workload_.cache_tokens > 0 ? workload_.cache_tokens
                                        : workload_.sequences * workload_.context_tokens,
             " tokens of context, ", print_bytes(b.slots), " for ", least.slots, " slots, ",
             b.resident == 0 ? "" : text(print_bytes(b.resident), " of resident units, "),
             print_bytes(b.vectors + b.input + b.activations + b.logits + b.scratch),
             " to compute in",
             b.context == 0 ? "" : text(", ", print_bytes(b.context), " of the driver's"),
             "; raise --vram", fixes_residents() ? " or let fewer units be resident" : "",
             b.kv <= b.slots                     ? ""
             : request_.kv == kAllKvTypes.back() ? " or lower --ctx"
                                                 : text(" or lower --ctx; or let --kv-types have ",
                                                        kv_type_name(kAllKvTypes.back())),
             b.kv > b.slots ? more_caches_hint(least) : ""));
  }

  // How the host would take more of the caches.
  std::string more_caches_hint(const Plan& least) const {
    const bool may = least.host_kv.layers < all_host_caches(model_, limits_).back();
    return may ? ", or raise --ram" : ", or leave caches to the host: --host-cache auto";
  }

  const PlanRequest request_;
  const ModelLayout& model_;
  const Workload& workload_;
  const PlanLimits& limits_;
};

}  // namespace

Plan make_plan(const ModelLayout& model, const Workload& workload, const PlanLimits& limits,
               const Hardware& hardware) {
  return make_plans(model, workload, limits, hardware).fastest;
}

Plans make_plans(const ModelLayout& model, const Workload& workload, const PlanLimits& limits,
                 const Hardware& hardware) {
  return choose_kv(kv_types_of(model, limits), [&](KvType kv) {
    return Search(model, workload, limits, kv).fastest(hardware);
  });
}

bool has_plan(const ModelLayout& model, const Workload& workload, const PlanLimits& limits) {
  return Search(model, workload, limits, kv_types_of(model, limits).back()).possible();
}

void require_limit(const ModelLayout& model, const Workload& workload, const PlanLimits& limits) {
  Search(model, workload, limits, kv_types_of(model, limits).back()).require();
}

std::size_t smallest_limit_bytes(const ModelLayout& model, const Workload& workload,
                                 const PlanLimits& limits) {
  const KvType least = kv_types_of(model, limits).back();
  return Search(model, workload, limits, least).smallest().bytes.total();
}

}  // namespace sluice
