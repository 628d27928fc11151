#include "offload/best_plan.h"

#include <algorithm>
#include <utility>

#include "offload/cost_model.h"
#include "offload/host_budget.h"

namespace sluice {
namespace {

constexpr std::size_t kMostReplayedPieces = 3'200'000;  // some 0.1 s
constexpr std::size_t kSmallModelUnits = 40;            // every pair of units may be tried
constexpr std::size_t kTinyModelUnits = 12;             // and every three,
constexpr std::size_t kTinyModelShapes = 4;             // in the fastest of shapes
constexpr std::size_t kKept = 64;

// Of plans that are as fast but for rounding, the one that streams nothing is better; and segments
// that no cache holds must be worth it.
double seconds_of(const Plan& plan) {
  constexpr std::size_t kCachedTokens = 512;
  constexpr double kWorth = 1.02;
  return plan.predicted.seconds() * (plan.slots > 0 ? 1.0 + 1e-6 : 1.0) *
         (plan.segment_tokens > kCachedTokens ? kWorth : 1.0);
}

}  // namespace

ShapeKey shape_key(const Plan& plan) {
  return {plan.segment_tokens, plan.slots, plan.slot_bytes, plan.host_kv.layers, plan.cache_slots};
}

double BestPlan::seconds() const {
  return seconds_of(best_.front());
}

std::optional<Plan> BestPlan::runner_up() const {
  const auto other = std::ranges::find_if(best_, [&](const Plan& p) {
    // Slots that nothing is streamed through make no other plan.
    if (p.slots > 0 && std::ranges::none_of(p.placement, is_outside)) return false;
    return p.slots != plan().slots || p.segment_tokens != plan().segment_tokens ||
           p.host_kv.layers != plan().host_kv.layers || p.cache_slots != plan().cache_slots;
  });
  return other == best_.end() ? std::nullopt : std::optional(*other);
}

bool BestPlan::exhausted() const {
  // Types of cache are searched one after the other.
  return replayed_pieces_ > kMostReplayedPieces / std::max<std::size_t>(limits_.kv_types.size(), 1);
}

// Nothing where host memory has no room for it. Where it has none to compute units in, they are
// streamed, unless the user wants otherwise.
std::optional<Plan> BestPlan::replayed(Plan plan) {
  plan.routes.clear();
  if (!fit_host(model_, plan, limits_.host_bytes)) return std::nullopt;
  Schedule schedule = make_schedule(model_, plan);
  const bool has_routes = limits_.host_computes || plan.cache_slots > 0;
  replayed_pieces_ += schedule.pieces.size() * (has_routes ? 40 : 6);
  if (has_routes) {
    choose(plan, schedule, RouteSizes::kOfWorkload);
    if (!fit_host(model_, plan, limits_.host_bytes)) {
      if (!limits_.may_stream_all()) return std::nullopt;
      plan.routes.clear();
      fit_host(model_, plan, limits_.host_bytes);
    }
    if (limits_.host_bytes) {  // what is on the disk may be another part
      schedule = make_schedule(model_, plan);
    } else {
      schedule.prologue = make_prologue(model_, plan, schedule);
    }
  }
  plan.predicted = predict(model_, plan, schedule, hardware_);
  return plan;
}

void BestPlan::choose(Plan& plan, Schedule& schedule, RouteSizes sizes) const {
  const Plan* like = sizes == RouteSizes::kOfWorkload && found() ? &best_.front() : nullptr;
  plan.routes = choose_routes(model_, plan, schedule, limits_, hardware_, sizes, like);
}

void BestPlan::consider(Plan given) {
  std::optional<Plan> plan = replayed(std::move(given));
  if (!plan) return;
  const auto same = std::ranges::find(best_, shape_key(*plan), shape_key);
  if (same == best_.end()) {
    best_.push_back(std::move(*plan));
  } else if (seconds_of(*plan) < seconds_of(*same)) {
    *same = std::move(*plan);
  }
  std::ranges::stable_sort(best_, {}, seconds_of);
  if (best_.size() > kKept) best_.pop_back();
}

void BestPlan::refine() {
  start_over();
  if (plan().placement.size() <= kSmallModelUnits) {
    for (std::size_t i = 0; i < best_.size(); ++i) {
      const bool tiny = plan().placement.size() <= kTinyModelUnits && i < kTinyModelShapes;
      while (!exhausted() && improve(best_[i], tiny)) {
      }
    }
    std::ranges::stable_sort(best_, {}, seconds_of);
  }
  if (plan().cache_slots == 0 && (!limits_.host_computes || plan().slots == 0)) return;
  Plan routed = plan();
  Schedule schedule = make_schedule(model_, routed);
  choose(routed, schedule, RouteSizes::kAll);
  if (!fit_host(model_, routed, limits_.host_bytes)) return;
  routed.predicted = predict(model_, routed, make_schedule(model_, routed), hardware_);
  best_.front() = std::move(routed);
}

// By one unit on the device less, or for one that isn't; or by two for one.
bool BestPlan::improve(Plan& plan, bool two_for_one) {
  const Plan start = plan;
  const std::size_t units = start.placement.size();
  const auto may_leave = [&](std::size_t unit) {
    return start.placement[unit] == Placement::kResident && limits_.pin(unit) == Pin::kNone;
  };
  const auto try_it = [&](Plan other) {
    count_bytes(model_, other);
    if (other.bytes.total() > limits_.most_device_bytes() || exhausted()) return;
    std::optional<Plan> tried = replayed(std::move(other));
    if (tried && seconds_of(*tried) < seconds_of(plan)) plan = std::move(*tried);
  };
  const auto try_each_instead = [&](const Plan& less) {
    for (std::size_t in = 0; in < units; ++in) {
      if (start.placement[in] == Placement::kResident || limits_.pin(in) != Pin::kNone) continue;
      Plan swapped = less;
      swapped.placement[in] = Placement::kResident;
      try_it(std::move(swapped));
    }
  };
  for (std::size_t out = 0; start.slots > 0 && out < units; ++out) {
    if (!may_leave(out)) continue;
    Plan less = start;
    less.placement[out] = Placement::kHost;
    if (!limits_.resident_units) try_it(less);
    try_each_instead(less);
    if (!two_for_one || limits_.resident_units) continue;
    for (std::size_t second = out + 1; second < units; ++second) {
      if (!may_leave(second)) continue;
      Plan two_less = less;
      two_less.placement[second] = Placement::kHost;
      try_each_instead(two_less);
    }
  }
  return seconds_of(plan) < seconds_of(start);
}

}  // namespace sluice
