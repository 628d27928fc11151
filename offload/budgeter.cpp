#include "offload/budgeter.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <optional>

#include "memory/error.h"
#include "memory/units.h"
#include "offload/best_plan.h"
#include "offload/candidates.h"
#include "offload/cost_model.h"
#include "offload/host_budget.h"
#include "offload/kv_choice.h"

namespace sluice {
namespace {

constexpr std::size_t kDefaultSegmentTokens = 512;
// Where weights are streamed, longer segments share a copy among more tokens.
constexpr std::size_t kLongestSegmentTokens = 4096;
constexpr std::size_t kDefaultSlots = 2;
constexpr std::array<std::size_t, 6> kSlotCounts = {2, 3, 4, 6, 8, 12};
// Pieces smaller than this cost more in steps than they save in memory.
constexpr std::size_t kSmallSlotBytes = 64_KiB;
constexpr std::size_t kSlotSizes = 10;  // the largest unit, its half, ... before the smallest
// A pass of more pieces than this costs more in steps than it gains; tried where nothing else fits.
constexpr std::size_t kMostPieces = 4096;
constexpr std::size_t kTriedFirst = 2;  // of every shape of slots and segments

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

// Slots and segments of some sizes, and what could be resident beside them.
struct Shape {
  Plan blank;
  std::shared_ptr<const Candidates> candidates;
};
struct Streaming {
  std::shared_ptr<const Shape> shape;
  Candidate candidate;
};

class Search {
 public:
  Search(const ModelLayout& model, const Workload& workload, const PlanLimits& limits, KvType kv)
      : model_(model),
        workload_(workload),
        limits_(limits),
        kv_(kv),
        total_tokens_(std::max<std::size_t>(workload.prompt_tokens, 1) * workload.sequences) {}

  Plan smallest() const {
    Plan resident = everything_resident(segments().back());
    if (limits_.in_place) return resident;
    Plan streamed = blank(segments().back());
    streamed.slots = limits_.slots.value_or(kDefaultSlots);
    streamed.slot_bytes = smallest_slot_bytes(model_);
    place_least(streamed);
    count_bytes(model_, streamed);
    // A model smaller than two slots is better kept.
    const bool keep = may_be_resident() && resident.bytes.total() < streamed.bytes.total();
    return keep ? resident : streamed;
  }

  // The smallest plan; refused if the limit is smaller still.
  Plan require() const {
    Plan least = smallest();
    if (least.bytes.total() > limits_.most_device_bytes()) refuse(least);
    return least;
  }

  Plans fastest(const Hardware& hardware) const {
    const Plan least = require();
    BestPlan best(model_, limits_, hardware);
    for (const std::size_t segment : segments()) {
      if (!may_be_resident()) break;
      Plan plan = everything_resident(segment);
      if (plan.bytes.total() > limits_.most_device_bytes()) continue;
      best.consider(std::move(plan));
      if (!limits_.segment_tokens) break;  // shorter segments only save memory
    }
    if (limits_.in_place) return {best.plan(), std::nullopt};
    // With everything on the device and segments as long as they need be, nothing is left to gain.
    if (best.found() && best.plan().segment_tokens == segments().front()) {
      return {best.plan(), std::nullopt};
    }
    std::vector<Streaming> streaming = all_streaming(hardware);
    std::ranges::stable_sort(streaming, {}, [](const Streaming& s) { return s.candidate.seconds; });
    // The most promising of every shape first, then all others.
    std::map<const Shape*, std::size_t> tried;
    for (const bool others : {false, true}) {
      tried.clear();
      for (const Streaming& s : streaming) {
        if (best.exhausted() || (best.found() && s.candidate.seconds >= best.seconds())) break;
        if ((tried[s.shape.get()]++ < kTriedFirst) != others) best.consider(make(s));
      }
    }
    if (!best.found()) best.consider(least);
    if (!best.found()) {
      refuse_host(model_, least, everything_resident(segments().back()), *limits_.host_bytes);
    }
    best.refine();
    return {best.plan(), best.runner_up()};
  }

 private:
  // Segment lengths to try, longest first.
  std::vector<std::size_t> segments(std::size_t longest = kDefaultSegmentTokens) const {
    if (limits_.segment_tokens) return {*limits_.segment_tokens};
    std::vector<std::size_t> lengths;
    for (std::size_t n = longest; n > 1; n /= 2) {
      // One that covers all tokens, and none longer.
      if (n / 2 < total_tokens_) lengths.push_back(std::min(n, total_tokens_));
    }
    lengths.push_back(1);
    return lengths;
  }

  std::vector<std::size_t> slot_sizes() const {
    std::vector<std::size_t> sizes;
    const std::size_t smallest =
        std::max(smallest_slot_bytes(model_), model_.units_bytes() / kMostPieces);
    std::size_t bytes = align_up(largest_unit_bytes(model_));
    for (std::size_t i = 0; i < kSlotSizes && bytes > smallest; ++i, bytes = align_up(bytes / 2)) {
      sizes.push_back(bytes);
    }
    sizes.push_back(align_up(smallest));
    return sizes;
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

  std::vector<std::size_t> slot_counts() const {
    if (limits_.slots) return {*limits_.slots};
    return {kSlotCounts.begin(), kSlotCounts.end()};
  }

  Plan blank(std::size_t segment) const {
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

  // Every choice of slots and of units beside them that leaves no room for another unit.
  std::vector<Streaming> all_streaming(const Hardware& hardware) const {
    std::vector<Streaming> all;
    for (const std::size_t segment : segments(kLongestSegmentTokens)) {
      const WorkloadPasses passes = passes_of(workload_, segment);
      for (const std::size_t slot_bytes : slot_sizes()) {
        std::shared_ptr<const Candidates> candidates;
        for (const std::size_t slots : slot_counts()) {
          Plan plan = blank(segment);
          plan.slots = slots;
          plan.slot_bytes = slot_bytes;
          count_bytes(model_, plan);
          const std::size_t used = plan.bytes.total();
          if (used > limits_.most_device_bytes()) break;
          if (!candidates) {
            candidates = std::make_shared<const Candidates>(model_, limits_, hardware, passes,
                                                            slot_bytes, kv_);
          }
          const auto shape = std::make_shared<const Shape>(std::move(plan), candidates);
          // A prompt finds its slots full: so much of its copies is for free.
          const double ahead_seconds =
              static_cast<double>(slots) * hardware.to_device.seconds(slot_bytes);
          for (Candidate c : candidates->within(limits_.most_device_bytes() - used)) {
            c.seconds -= ahead_seconds;
            all.push_back({shape, c});
          }
        }
      }
    }
    return all;
  }

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
                                                        kv_type_name(kAllKvTypes.back()))));
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
