// From a plan for the device to one that keeps a limit of host memory too.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "offload/plan.h"

namespace sluice {

// Indices 0..count-1 so that every beginning of the list is spread evenly (bits reversed).
std::vector<std::size_t> spread_order(std::size_t count);

// Leaves as many of the units that aren't resident in host memory as its limit allows, spread along
// the layers, and the others on the disk. Counts the plan's bytes. False where there is no room for
// what reading from the disk takes, or for passes: the plan is of no use then.
bool fit_host(const ModelLayout& model, Plan& plan, std::optional<std::size_t> limit_bytes);

// The least that the plan can do with: with every unit on the disk that isn't resident or, where
// they are smaller than what reading takes, in host memory.
std::size_t smallest_host_bytes(const ModelLayout& model, Plan plan);

// Throws Error{kOverBudget} naming the smallest limit that would do for one of these plans, with
// all its units on the disk.
[[noreturn]] void refuse_host(const ModelLayout& model, const std::vector<Plan>& least,
                              std::size_t limit_bytes);

}  // namespace sluice
