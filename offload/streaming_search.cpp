#include "offload/streaming_search.h"

#include <algorithm>
#include <map>

#include "offload/cost_model.h"
#include "offload/plan_sizes.h"

namespace sluice {
namespace {

constexpr std::size_t kTriedFirst = 3;   // candidates with the same slots and segments
constexpr std::size_t kTriedBeside = 4;  // of a shape beside one that is fast
constexpr double kNearlyAsFast = 1.05;

// Those next to one of a list.
std::vector<std::size_t> beside(const std::vector<std::size_t>& all, std::size_t one) {
  const auto at = std::ranges::find(all, one);
  std::vector<std::size_t> found;
  if (at == all.end()) return found;
  if (at != all.begin()) found.push_back(*(at - 1));
  if (at + 1 != all.end()) found.push_back(*(at + 1));
  return found;
}

}  // namespace

// Once segments of one length have been gone through, what is slower than the best is left out.
void StreamingSearch::consider_all() {
  std::deque<Shape> shapes;
  std::vector<Streaming> all;
  for (const std::size_t segment : request_.segments(kLongestSegmentTokens)) {
    Plan plan = request_.blank(segment, 0);
    count_bytes(request_.model, plan);
    std::vector<Streaming> of_segment;
    for (const std::size_t slot_bytes : slot_sizes(request_.model)) {
      plan.slot_bytes = slot_bytes;
      std::shared_ptr<const Candidates> candidates;
      std::map<std::size_t, std::vector<Streaming>> first;  // by number of slots
      for (const std::size_t host_caches : few_host_caches(request_.model, request_.limits)) {
        plan.cache_on_host(host_caches);
        for (const std::size_t cache_slots : cache_slot_counts(request_.limits, host_caches)) {
          plan.cache_slots = cache_slots;
          for (const std::size_t slots : slot_counts(request_.limits)) {
            plan.slots = slots;
            count_slots(plan);
            if (!add_shape(plan, candidates, shapes, first[slots], kTriedFirst)) break;
          }
        }
      }
      for (const auto& [slots, s] : first) of_segment.insert(of_segment.end(), s.begin(), s.end());
    }
    if (of_segment.empty()) continue;
    best_.consider(make(*std::ranges::min_element(of_segment, {}, seconds_of)));
    all.insert(all.end(), of_segment.begin(), of_segment.end());
  }
  consider(std::move(all));
}

// Makes a shape of slots, segments and caches whose bytes have been counted. `candidates` are made
// for the first with its segments and size of slots; `first` are so many as promise most, the most
// promising first. False where its slots alone pass the limit.
bool StreamingSearch::add_shape(const Plan& plan, std::shared_ptr<const Candidates>& candidates,
                                std::deque<Shape>& shapes, std::vector<Streaming>& first,
                                std::size_t most) const {
  if (!request_.fits(plan)) return false;
  if (!candidates) {
    candidates =
        std::make_shared<const Candidates>(request_.model, request_.limits, hardware_,
                                           passes_of(request_.workload, plan.segment_tokens), plan);
  }
  const Shape& shape = shapes.emplace_back(Shape{plan, candidates});
  // A prompt finds its slots full: so much of its copies is for free.
  const double ahead_seconds =
      static_cast<double>(plan.slots) * hardware_.to_device.seconds(plan.slot_bytes);
  const HostCaches caches{plan.host_kv.layers, plan.cache_slots > 0};
  const std::size_t room = request_.limits.most_device_bytes() - plan.bytes.total();
  for (Candidate c : candidates->within(room, caches)) {
    c.seconds -= ahead_seconds;
    if (is_slower(c)) continue;
    first.insert(std::ranges::upper_bound(first, c.seconds, {}, seconds_of), {&shape, c});
    if (first.size() > most) first.pop_back();
  }
  return true;
}

bool StreamingSearch::is_slower(const Candidate& candidate) const {
  return best_.found() && candidate.seconds >= best_.seconds();
}

// In the order of what they promise.
void StreamingSearch::consider(std::vector<Streaming> streaming) {
  std::ranges::stable_sort(streaming, {}, seconds_of);
  for (const Streaming& s : streaming) {
    if (best_.exhausted() || is_slower(s.candidate)) break;
    best_.consider(make(s));
  }
}

Plan StreamingSearch::make(const Streaming& streaming) const {
  Plan plan = streaming.shape->blank;
  plan.placement = streaming.shape->candidates->placement(streaming.candidate);
  count_bytes(request_.model, plan);
  return plan;
}

void StreamingSearch::consider_others() {
  best_.start_over();
  std::set<ShapeKey> met;
  std::set<ShapeKey> left;  // whose neighbours have been met
  const auto next = [&] {
    return std::ranges::find_if(best_.kept(), [&](const Plan& p) {
      return p.slots > 0 && p.predicted.seconds() < kNearlyAsFast * best_.seconds() &&
             !left.contains(shape_key(p));
    });
  };
  for (auto from = next(); from != best_.kept().end() && !best_.exhausted(); from = next()) {
    left.insert(shape_key(*from));
    const bool fastest = from == best_.kept().begin();
    if (!try_beside(Plan(*from), met) && fastest) try_other_caches();
  }
}

// Ends as soon as one is the fastest.
bool StreamingSearch::try_beside(const Plan& from, std::set<ShapeKey>& met) {
  for (const Plan& plan : shapes_beside(from)) {
    if (met.insert(shape_key(plan)).second && try_shape(plan)) return true;
  }
  return false;
}

bool StreamingSearch::try_shape(const Plan& plan) {
  const double before = best_.seconds();
  std::deque<Shape> shapes;
  std::vector<Streaming> first;
  std::shared_ptr<const Candidates> candidates;
  add_shape(plan, candidates, shapes, first, kTriedBeside);
  consider(std::move(first));
  return best_.seconds() < before;
}

// With segments, slots or their size the next larger or smaller, and of another size any number of
// slots; with caches of other numbers of layers in host memory, with and without slots for them.
std::vector<Plan> StreamingSearch::shapes_beside(const Plan& from) const {
  const ModelLayout& model = request_.model;
  const PlanLimits& limits = request_.limits;
  const std::size_t segment = from.segment_tokens;
  const std::size_t caches = from.host_kv.layers;
  std::vector<Plan> shapes;
  const auto add = [&](std::size_t segment_tokens, std::size_t slot_bytes, std::size_t slots,
                       std::size_t host_caches, std::size_t cache_slots) {
    shapes.push_back(shape(segment_tokens, slot_bytes, slots, host_caches, cache_slots));
  };
  for (const std::size_t other : beside(request_.segments(kLongestSegmentTokens), segment)) {
    add(other, from.slot_bytes, from.slots, caches, from.cache_slots);
  }
  for (const std::size_t bytes : beside(slot_sizes(model), from.slot_bytes)) {
    for (const std::size_t slots : slot_counts(limits)) {
      add(segment, bytes, slots, caches, from.cache_slots);
    }
  }
  for (const std::size_t slots : beside(slot_counts(limits), from.slots)) {
    add(segment, from.slot_bytes, slots, caches, from.cache_slots);
  }
  std::vector<std::size_t> all_caches = beside(few_host_caches(model, limits), caches);
  all_caches.push_back(caches);
  for (const std::size_t host_caches : all_caches) {
    for (const std::size_t cache_slots : cache_slot_counts(limits, host_caches)) {
      add(segment, from.slot_bytes, from.slots, host_caches, cache_slots);
    }
  }
  return shapes;
}

Plan StreamingSearch::shape(std::size_t segment, std::size_t slot_bytes, std::size_t slots,
                            std::size_t host_caches, std::size_t cache_slots) const {
  Plan plan = request_.blank(segment, host_caches);
  plan.slots = slots;
  plan.slot_bytes = slot_bytes;
  plan.cache_slots = std::min(cache_slots, host_caches);
  count_bytes(request_.model, plan);
  return plan;
}

// Numbers of caches in host memory between those tried, in ever smaller steps from the best.
void StreamingSearch::try_other_caches() {
  const std::size_t counts = all_host_caches(request_.model, request_.limits).size();
  for (std::size_t step = counts / 8; step > 0 && best_.plan().slots > 0; step /= 2) {
    const Plan from = best_.plan();
    const std::size_t middle = from.host_kv.layers;
    for (const bool more : {false, true}) {
      if (more ? middle + step >= counts : middle < step) continue;
      try_shape(shape(from.segment_tokens, from.slot_bytes, from.slots,
                      more ? middle + step : middle - step, from.cache_slots));
    }
  }
}

}  // namespace sluice
