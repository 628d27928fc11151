#include "offload/host_budget.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "memory/error.h"
#include "memory/units.h"

namespace sluice {
namespace {

// Buffers for what is read, those that are worth most first: enough to read ahead while one is
// copied from and another waited for, and so large that reads are.
struct Buffers {
  std::size_t count;
  std::size_t bytes;  // or a slot's, if that is more
};
constexpr Buffers kBuffers[] = {{8, 4_MiB}, {4, 4_MiB}, {4, 1_MiB}, {3, 0}};
constexpr std::size_t kShareOfBuffers = 6;  // one byte of so many of the limit, unless the fewest
constexpr Buffers kFewest = kBuffers[std::size(kBuffers) - 1];

void place_all_on_disk(const ModelLayout& model, Plan& plan, Buffers buffers) {
  for (Placement& where : plan.placement) {
    if (where == Placement::kHost) where = Placement::kDisk;
  }
  plan.disk_buffers = plan.slots == 0 ? 0 : buffers.count;
  plan.disk_buffer_bytes = std::max(buffers.bytes, plan.slot_bytes);
  count_bytes(model, plan);
}

void place_nothing_on_disk(const ModelLayout& model, Plan& plan) {
  for (Placement& where : plan.placement) {
    if (where == Placement::kDisk) where = Placement::kHost;
  }
  plan.disk_buffers = 0;
  count_bytes(model, plan);
}

}  // namespace

std::vector<std::size_t> spread_order(std::size_t count) {
  std::size_t bits = 0;
  while ((std::size_t{1} << bits) < count) ++bits;
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < (std::size_t{1} << bits); ++i) {
    std::size_t reversed = 0;
    for (std::size_t b = 0; b < bits; ++b) reversed |= ((i >> b) & 1) << (bits - 1 - b);
    if (reversed < count) order.push_back(reversed);
  }
  return order;
}

bool fit_host(const ModelLayout& model, Plan& plan, std::optional<std::size_t> limit_bytes) {
  plan.host_limit_bytes = limit_bytes;
  place_nothing_on_disk(model, plan);
  if (!limit_bytes || plan.host_bytes.total() <= *limit_bytes) return true;
  if (plan.slots == 0) return false;
  for (const Buffers& buffers : kBuffers) {
    place_all_on_disk(model, plan, buffers);
    const bool modest = plan.host_bytes.disk <= *limit_bytes / kShareOfBuffers;
    if (modest && plan.host_bytes.total() <= *limit_bytes) break;
  }
  if (plan.host_bytes.total() > *limit_bytes) return false;
  // The first unit stays first: what a pass begins with is on its way before the pass is known.
  std::size_t used = plan.host_bytes.total();
  for (const std::size_t unit : spread_order(plan.placement.size())) {
    const std::size_t bytes = align_up(model.units[unit].size_bytes);
    if (plan.placement[unit] != Placement::kDisk || bytes > *limit_bytes - used) continue;
    plan.placement[unit] = Placement::kHost;
    used += bytes;
  }
  count_bytes(model, plan);
  return true;
}

std::size_t smallest_host_bytes(const ModelLayout& model, Plan plan) {
  place_nothing_on_disk(model, plan);
  const std::size_t in_memory = plan.host_bytes.total();
  place_all_on_disk(model, plan, kFewest);
  return std::min(in_memory, plan.host_bytes.total());
}

void refuse_host(const ModelLayout& model, const std::vector<Plan>& least,
                 std::size_t limit_bytes) {
  std::size_t smallest = std::numeric_limits<std::size_t>::max();
  for (const Plan& plan : least) smallest = std::min(smallest, smallest_host_bytes(model, plan));
  throw Error(ErrorKind::kOverBudget,
              text("a limit of ", limit_bytes, " bytes (", print_bytes(limit_bytes),
                   ") of host memory can't be kept: the smallest that works here is ", smallest,
                   " bytes (", print_bytes(smallest),
                   "), with every unit that isn't on the device read from the disk; raise --ram"));
}

}  // namespace sluice
