// The part of the budgeter that looks for the fastest plan among those that stream: what is
// resident, what slots the rest goes through, in which segments, and whose caches are in host
// memory.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <set>
#include <vector>

#include "offload/best_plan.h"
#include "offload/candidates.h"
#include "offload/hardware.h"
#include "offload/plan_request.h"

namespace sluice {

class StreamingSearch {
 public:
  // Borrows all three. Tells `best` of what it finds.
  StreamingSearch(const PlanRequest& request, const Hardware& hardware, BestPlan& best)
      : request_(request), hardware_(hardware), best_(best) {}

  // All shapes, in the order of what they promise, while there is time.
  void consider_all();
  // What is like the best, which there is, but for one size; from what is faster on, as long as
  // there is time. Then what is like others that are nearly as fast.
  void consider_others();

 private:
  // Slots, segments and caches of some sizes, and what could be resident beside them.
  struct Shape {
    Plan blank;
    std::shared_ptr<const Candidates> candidates;
  };
  struct Streaming {
    const Shape* shape;
    Candidate candidate;
  };

  bool add_shape(const Plan& plan, std::shared_ptr<const Candidates>& candidates,
                 std::deque<Shape>& shapes, std::vector<Streaming>& first, std::size_t most) const;
  bool is_slower(const Candidate& candidate) const;
  void consider(std::vector<Streaming> streaming);
  Plan make(const Streaming& streaming) const;
  bool try_beside(const Plan& from, std::set<ShapeKey>& met);
  bool try_shape(const Plan& plan);
  std::vector<Plan> shapes_beside(const Plan& from) const;
  Plan shape(std::size_t segment, std::size_t slot_bytes, std::size_t slots,
             std::size_t host_caches, std::size_t cache_slots) const;
  void try_other_caches();
  static double seconds_of(const Streaming& s) { return s.candidate.seconds; }

  const PlanRequest& request_;
  const Hardware& hardware_;
  BestPlan& best_;
};

}  // namespace sluice
