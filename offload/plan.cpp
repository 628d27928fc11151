#include "offload/plan.h"

#include <algorithm>

#include "layers/pieces.h"
#include "memory/disk_reader.h"
#include "memory/units.h"
#include "offload/host_worker.h"

namespace sluice {

namespace {

// Of the first so many layers, how many have their cache in host memory.
std::size_t host_caches(const Plan& plan, std::size_t layers) {
  const std::size_t all = plan.kv.layers + plan.host_kv.layers;
  return all == 0 ? 0 : layers * plan.host_kv.layers / all;
}

// Of the largest passes whose route is `wanted`; 0: none is.
template <typename Wanted>
std::size_t most_tokens(const std::vector<Route>& routes, const Wanted& wanted) {
  std::size_t most = 0;
  for (const Route& route : routes) {
    if (wanted(route)) most = route.tokens;
  }
  return most;
}

}  // namespace

void Plan::cache_on_host(std::size_t layers) {
  const std::size_t all = kv.layers + host_kv.layers;
  host_kv = kv;
  host_kv.layers = layers;
  kv.layers = all - layers;
}

bool Plan::caches_on_host(std::size_t layer) const {
  return host_caches(*this, layer + 1) > host_caches(*this, layer);
}

std::size_t Plan::host_attended_tokens() const {
  if (host_kv.layers == 0) return 0;
  if (cache_slots == 0) return segment_tokens;
  return most_tokens(routes, [](const Route& route) { return route.host_attends; });
}

std::size_t Plan::host_tokens() const {
  return most_tokens(routes, [](const Route& route) { return route.takes_units(); });
}

std::vector<std::byte*> Plan::layer_caches(Side side, std::byte* pages) const {
  std::vector<std::byte*> begins;
  for (std::size_t layer = 0; layer < kv.layers + host_kv.layers; ++layer) {
    const bool here = caches_on_host(layer) == (side == Side::kHost);
    begins.push_back(here ? pages : nullptr);
    if (here) pages += kv.layer_bytes();
  }
  return begins;
}

PassShape Plan::largest_pass() const {
  const std::size_t wanted = workload.all_logits ? segment_tokens : workload.sequences;
  return {.tokens = segment_tokens,
          .logit_rows = std::min(wanted, segment_tokens),
          .blocks = segment_tokens,
          .table_pages = kv.pages,
          .keys = workload.context_tokens};
}

std::size_t Plan::route_of(std::size_t tokens) const {
  const auto found = std::ranges::lower_bound(routes, tokens, {}, &Route::tokens);
  return static_cast<std::size_t>(found - routes.begin());
}

bool Plan::always_streamed(std::size_t unit) const {
  return placement[unit] == Placement::kHost &&
         std::ranges::none_of(routes, [&](const Route& route) { return route.by_host[unit]; });
}

std::size_t Plan::host_units(std::size_t tokens) const {
  const std::size_t route = route_of(tokens);
  if (route == routes.size()) return 0;
  return static_cast<std::size_t>(std::ranges::count(routes[route].by_host, true));
}

std::size_t Plan::streamed_bytes(const ModelLayout& model, std::size_t tokens) const {
  const std::size_t route = route_of(tokens);
  std::size_t total = 0;
  for (std::size_t unit = 0; unit < placement.size(); ++unit) {
    const bool streamed = is_outside(placement[unit]) && !by_host(unit, route);
    if (streamed) total += model.units[unit].size_bytes;
  }
  return total;
}

std::size_t Plan::disk_bytes(const ModelLayout& model) const {
  std::size_t total = 0;
  for (std::size_t unit = 0; unit < placement.size(); ++unit) {
    if (placement[unit] == Placement::kDisk) total += model.units[unit].size_bytes;
  }
  return total;
}

std::size_t Plan::logit_rows() const {
  return std::max(workload.sequences, largest_pass().logit_rows);
}

namespace {

HostBytes count_host_bytes(const ModelLayout& model, const Plan& plan) {
  HostBytes bytes;
  const std::size_t input = align_up(plan.largest_pass().input_bytes(model.config));
  const std::size_t rows = plan.logit_rows();
  bytes.staging = 2 * input + align_up(rows * sizeof(LogitsSummary)) +
                  rows * model.config.vocab * sizeof(float);
  bytes.cache = align_up(plan.host_kv.total_bytes());
  if (plan.host_computes()) {
    bytes.work = host_work_bytes(model, plan) + model.vector_floats * sizeof(float);
  }
  std::size_t largest_panel = 0;
  for (std::size_t unit = 0; unit < plan.placement.size(); ++unit) {
    const UnitInfo& info = model.units[unit];
    const Placement where = plan.placement[unit];
    if (where == Placement::kDisk) {
      largest_panel = std::max(largest_panel, largest_panel_bytes(info));
    } else if (where != Placement::kResident) {
      bytes.store += align_up(info.size_bytes);
    }
  }
  if (largest_panel > 0) {
    bytes.disk = plan.disk_buffers * align_up(plan.disk_buffer_bytes) +
                 DiskReader::memory_bytes(plan.disk_buffer_bytes, largest_panel);
  }
  return bytes;
}

}  // namespace

void count_slots(Plan& plan) {
  plan.bytes.slots = plan.slots * align_up(plan.slot_bytes);
  plan.bytes.kv = align_up(plan.kv.total_bytes());
  plan.bytes.cache_slots = plan.cache_slots * align_up(plan.host_kv.layer_bytes());
}

void count_bytes(const ModelLayout& model, Plan& plan) {
  const WorkspaceSizes sizes = workspace_sizes(model, plan.precision, plan.largest_pass());
  const std::size_t scratch =
      plan.gpu ? gpu_scratch_sizes(model, plan.precision, plan.largest_pass()).total() : 0;
  plan.bytes = {.vectors = align_up(model.vector_floats * sizeof(float)),
                .resident = 0,
                .slots = 0,
                .kv = 0,
                .cache_slots = 0,
                .input = align_up(sizes.input_bytes),
                .activations = align_up(sizes.mixing_floats * sizeof(float)),
                .logits = align_up(plan.logit_rows() * model.config.vocab * sizeof(float)) +
                          align_up(plan.logit_rows() * sizeof(LogitsSummary)),
                .scratch = scratch,
                .context = plan.bytes.context};
  count_slots(plan);
  for (const std::size_t bytes : sizes.activation_bytes) plan.bytes.activations += align_up(bytes);
  for (std::size_t unit = 0; unit < plan.placement.size(); ++unit) {
    if (plan.placement[unit] == Placement::kResident) {
      plan.bytes.resident += align_up(model.units[unit].size_bytes);
    }
  }
  plan.host_bytes = count_host_bytes(model, plan);
}

}  // namespace sluice
