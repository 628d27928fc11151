#include "offload/budgeter.h"

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "memory/error.h"
#include "memory/units.h"
#include "offload/best_plan.h"
#include "offload/candidates.h"
#include "offload/cost_model.h"
#include "offload/host_budget.h"
#include "offload/kv_choice.h"
#include "offload/plan_sizes.h"

namespace sluice {
namespace {

constexpr std::size_t kTriedFirst = 2;  // candidates of every shape

// Slots, segments and caches of some sizes, and what could be resident beside them.
struct Shape {
  Plan blank;
  std::shared_ptr<const Candidates> candidates;
};
struct Streaming {
  const Shape* shape;
  Candidate candidate;
};
// What a search enumerates: shapes, and the candidates of each that promise most.
struct Choices {
  std::deque<Shape> shapes;
  std::vector<Streaming> first;  // kTriedFirst of every shape at most
};

class Search {
 public:
  Search(const ModelLayout& model, const Workload& workload, const PlanLimits& limits, KvType kv)
      : model_(model),
        workload_(workload),
        limits_(limits),
        kv_(kv),
        total_tokens_(std::max<std::size_t>(workload.prompt_tokens, 1) * workload.sequences) {}

  // Of the device; but for what host memory has no room for, if it has for anything.
  Plan smallest() const {
    std::vector<Plan> least = least_plans();
    const auto too_large = [&](const Plan& plan) {
      return limits_.host_bytes && smallest_host_bytes(model_, plan) > *limits_.host_bytes;
    };
    if (!std::ranges::all_of(least, too_large)) std::erase_if(least, too_large);
    return *std::ranges::min_element(least, {}, [](const Plan& p) { return p.bytes.total(); });
  }

  // Refuses limits that no plan keeps.
  void require() const {
    const Plan least = smallest();
    if (fits(least)) return;
    const std::vector<Plan> fitting = fitting_least_plans();
    if (fitting.empty()) refuse(least);
    refuse_host(model_, fitting, *limits_.host_bytes);
  }

  Plans fastest(const Hardware& hardware) const {
    require();
    BestPlan best(model_, limits_, hardware);
    const std::size_t fewest_caches = all_host_caches(model_, limits_).front();
    for (const std::size_t segment : segments()) {
      std::optional<Plan> plan = resident_within(segment);
      if (!plan) continue;
      const bool as_can_be = plan->host_kv.layers == fewest_caches;
      for (const std::size_t cache_slots : cache_slot_counts(limits_, plan->host_kv.layers)) {
        Plan other = *plan;
        other.cache_slots = cache_slots;
        count_slots(other);
        if (fits(other)) best.consider(std::move(other));
      }
      if (as_can_be && best.found()) break;  // shorter segments only save memory
    }
    if (limits_.in_place) return {best.plan(), std::nullopt};
    // With everything on the device and segments as long as they need be, nothing is left to gain.
    if (best.found() && best.plan().segment_tokens == segments().front() &&
        best.plan().host_kv.layers == fewest_caches) {
      return {best.plan(), std::nullopt};
    }
    consider_all_streaming(hardware, best);
    if (best.found()) {
      try_other_caches(hardware, best);
    } else {
      consider_least(best);
    }
    best.refine();
    return {best.plan(), best.runner_up()};
  }

 private:
  std::vector<std::size_t> segments(std::size_t longest = kDefaultSegmentTokens) const {
    return segment_lengths(limits_, total_tokens_, longest);
  }

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
      if (fits(plan)) return plan;
    }
    return std::nullopt;
  }

  // Plans that take least, of the device or of the host; the device's most first.
  std::vector<Plan> least_plans() const {
    std::vector<Plan> least;
    for (const std::size_t host_caches : all_host_caches(model_, limits_)) {
      Plan streamed = blank(segments().back(), host_caches);
      streamed.slots = limits_.slots.value_or(kDefaultSlots);
      streamed.slot_bytes = smallest_slot_bytes(model_);
      place_least(streamed);
      count_bytes(model_, streamed);
      if (!limits_.in_place) least.push_back(std::move(streamed));
      // A model smaller than two slots is better kept.
      if (may_be_resident()) least.push_back(everything_resident(segments().back(), host_caches));
    }
    return least;
  }

  std::vector<Plan> fitting_least_plans() const {
    std::vector<Plan> least = least_plans();
    std::erase_if(least, [&](const Plan& plan) { return !fits(plan); });
    return least;
  }

  bool fits(const Plan& plan) const { return plan.bytes.total() <= limits_.most_device_bytes(); }

  // The first of them that host memory has room for.
  void consider_least(BestPlan& best) const {
    const std::vector<Plan> least = fitting_least_plans();
    for (const Plan& plan : least) {
      if (!best.found()) best.consider(plan);
    }
    if (!best.found()) refuse_host(model_, least, *limits_.host_bytes);
  }

  Plan blank(std::size_t segment, std::size_t host_caches) const {
    Plan plan;
    plan.workload = workload_;
    plan.limit_bytes = limits_.device_bytes;
    plan.gpu = limits_.gpu;
    plan.bytes.context = limits_.context_bytes;
    plan.segment_tokens = segment;
    const ModelConfig& c = model_.config;
    plan.kv = {.type = kv_,
               .layers = c.layers,
               .kv_heads = c.kv_heads,
               .head_dim = c.head_dim,
               .pages = workload_.cache_pages()};
    plan.cache_on_host(host_caches);
    plan.cache_slots = cache_slot_counts(limits_, host_caches).front();
    plan.precision = limits_.precision.value_or(default_precision(model_));
    plan.placement.assign(model_.units.size(), Placement::kHost);
    return plan;
  }

  Plan everything_resident(std::size_t segment, std::size_t host_caches) const {
    Plan plan = blank(segment, host_caches);
    plan.placement.assign(model_.units.size(),
                          limits_.in_place ? Placement::kInPlace : Placement::kResident);
    count_bytes(model_, plan);
    return plan;
  }

  // Every choice of slots, of caches and of units beside them that leaves no room for another unit.
  // Once segments of one length have been gone through, what is slower than the best is left out.
  void consider_all_streaming(const Hardware& hardware, BestPlan& best) const {
    Choices all;
    for (const std::size_t segment : segments(kLongestSegmentTokens)) {
      Plan plan = blank(segment, 0);
      count_bytes(model_, plan);
      const std::size_t before = all.first.size();
      for (const std::size_t slot_bytes : slot_sizes(model_)) {
        plan.slot_bytes = slot_bytes;
        std::shared_ptr<const Candidates> candidates;
        for (const std::size_t host_caches : few_host_caches(model_, limits_)) {
          plan.cache_on_host(host_caches);
          for (const std::size_t cache_slots : cache_slot_counts(limits_, host_caches)) {
            plan.cache_slots = cache_slots;
            for (const std::size_t slots : slot_counts(limits_)) {
              plan.slots = slots;
              count_slots(plan);
              if (!add_streaming(plan, hardware, best, candidates, all)) break;
            }
          }
        }
      }
      const std::span<const Streaming> added = std::span(all.first).subspan(before);
      if (!added.empty()) best.consider(make(*std::ranges::min_element(added, {}, seconds_of)));
    }
    consider(all, hardware, best);
  }

  // Those of one shape, whose bytes have been counted but for what the host takes. `candidates` are
  // made for the first with its segments and size of slots. False where its slots alone pass the
  // limit.
  bool add_streaming(const Plan& plan, const Hardware& hardware, const BestPlan& best,
                     std::shared_ptr<const Candidates>& candidates, Choices& all) const {
    if (plan.bytes.total() > limits_.most_device_bytes()) return false;
    if (!candidates) {
      const WorkloadPasses passes = passes_of(workload_, plan.segment_tokens);
      candidates = std::make_shared<const Candidates>(model_, limits_, hardware, passes, plan);
    }
    const Shape& shape = all.shapes.emplace_back(Shape{plan, candidates});
    std::vector<Streaming> first;
    for (const Streaming& s : streaming_of(shape, hardware, best)) {
      first.insert(std::ranges::upper_bound(first, seconds_of(s), {}, seconds_of), s);
      if (first.size() > kTriedFirst) first.pop_back();
    }
    all.first.insert(all.first.end(), first.begin(), first.end());
    return true;
  }

  // What could be resident beside a shape's slots, if it may be faster than the best.
  std::vector<Streaming> streaming_of(const Shape& shape, const Hardware& hardware,
                                      const BestPlan& best) const {
    const Plan& plan = shape.blank;
    // A prompt finds its slots full: so much of its copies is for free.
    const double ahead_seconds =
        static_cast<double>(plan.slots) * hardware.to_device.seconds(plan.slot_bytes);
    const HostCaches caches{plan.host_kv.layers, plan.cache_slots > 0};
    const std::size_t room = limits_.most_device_bytes() - plan.bytes.total();
    std::vector<Streaming> streaming;
    for (Candidate c : shape.candidates->within(room, caches)) {
      c.seconds -= ahead_seconds;
      if (best.found() && c.seconds >= best.seconds()) continue;
      streaming.push_back({&shape, c});
    }
    return streaming;
  }

  // Numbers of caches in host memory between those tried, in ever smaller steps from the best.
  void try_other_caches(const Hardware& hardware, BestPlan& best) const {
    const std::vector<std::size_t> counts = all_host_caches(model_, limits_);
    for (std::size_t step = counts.size() / 8; step > 0 && best.plan().slots > 0; step /= 2) {
      const std::size_t middle = best.plan().host_kv.layers;
      for (const bool more : {false, true}) {
        if (more ? middle + step >= counts.size() : middle < step) continue;
        Plan plan = blank(best.plan().segment_tokens, more ? middle + step : middle - step);
        plan.slots = best.plan().slots;
        plan.slot_bytes = best.plan().slot_bytes;
        plan.cache_slots = std::min(best.plan().cache_slots, plan.host_kv.layers);
        count_bytes(model_, plan);
        Choices choices;
        std::shared_ptr<const Candidates> candidates;
        add_streaming(plan, hardware, best, candidates, choices);
        consider(choices, hardware, best);
      }
    }
  }

  // The most promising of every shape first, then all others. Of a large model these are so many
  // that they aren't listed before it is known that there is time for them.
  void consider(Choices& choices, const Hardware& hardware, BestPlan& best) const {
    const auto is_over = [&](const Streaming& s) {
      return best.exhausted() || (best.found() && s.candidate.seconds >= best.seconds());
    };
    std::ranges::stable_sort(choices.first, {}, seconds_of);
    for (const Streaming& s : choices.first) {
      if (is_over(s)) break;
      best.consider(make(s));
    }
    if (best.exhausted()) return;
    std::vector<Streaming> all;
    for (const Shape& shape : choices.shapes) {
      const std::vector<Streaming> more = streaming_of(shape, hardware, best);
      all.insert(all.end(), more.begin(), more.end());
    }
    std::ranges::stable_sort(all, {}, seconds_of);
    std::map<const Shape*, std::size_t> tried;
    for (const Streaming& s : all) {
      if (is_over(s)) break;
      if (tried[s.shape]++ >= kTriedFirst) best.consider(make(s));
    }
  }

  static double seconds_of(const Streaming& streaming) { return streaming.candidate.seconds; }

  Plan make(const Streaming& streaming) const {
    Plan plan = streaming.shape->blank;
    plan.placement = streaming.shape->candidates->placement(streaming.candidate);
    count_bytes(model_, plan);
    return plan;
  }

  [[noreturn]] void refuse(const Plan& least) const {
    const PlanBytes& b = least.bytes;
    throw Error(ErrorKind::kOverBudget,
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
                     b.kv <= b.slots             ? ""
                     : kv_ == kAllKvTypes.back() ? " or lower --ctx"
                                                 : text(" or lower --ctx; or let --kv-types have ",
                                                        kv_type_name(kAllKvTypes.back())),
                     b.kv > b.slots ? more_caches_hint(least) : ""));
  }

  // How the host would take more of the caches.
  std::string more_caches_hint(const Plan& least) const {
    const bool may = least.host_kv.layers < all_host_caches(model_, limits_).back();
    return may ? ", or raise --ram" : ", or leave caches to the host: --host-cache auto";
  }

  const ModelLayout& model_;
  const Workload& workload_;
  const PlanLimits& limits_;
  const KvType kv_;
  const std::size_t total_tokens_;  // of all prompts; a pass should hold a token of each at least
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

void require_limit(const ModelLayout& model, const Workload& workload, const PlanLimits& limits) {
  Search(model, workload, limits, kv_types_of(model, limits).back()).require();
}

std::size_t smallest_limit_bytes(const ModelLayout& model, const Workload& workload,
                                 const PlanLimits& limits) {
  const KvType least = kv_types_of(model, limits).back();
  return Search(model, workload, limits, least).smallest().bytes.total();
}

}  // namespace sluice
