#include "offload/plan_request.h"

#include <algorithm>

namespace sluice {

std::vector<std::size_t> PlanRequest::segments(std::size_t longest) const {
  // A pass should hold a token of each prompt at least.
  const std::size_t total = std::max<std::size_t>(workload.prompt_tokens, 1) * workload.sequences;
  return segment_lengths(limits, total, longest);
}

Plan PlanRequest::blank(std::size_t segment, std::size_t host_caches) const {
  Plan plan;
  plan.workload = workload;
  plan.limit_bytes = limits.device_bytes;
  plan.gpu = limits.gpu;
  plan.bytes.context = limits.context_bytes;
  plan.segment_tokens = segment;
  const ModelConfig& c = model.config;
  plan.kv = {.type = kv,
             .layers = c.layers,
             .kv_heads = c.kv_heads,
             .head_dim = c.head_dim,
             .pages = workload.cache_pages()};
  plan.cache_on_host(host_caches);
  plan.cache_slots = cache_slot_counts(limits, host_caches).front();
  plan.precision = limits.precision.value_or(default_precision(model));
  plan.placement.assign(model.units.size(), Placement::kHost);
  return plan;
}

}  // namespace sluice
