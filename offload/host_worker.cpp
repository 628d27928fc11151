#include "offload/host_worker.h"

#include <algorithm>

#include "memory/units.h"

namespace sluice {
namespace {

WorkspaceSizes sizes_of(const ModelLayout& layout, const Plan& plan) {
  WorkspaceSizes sizes = workspace_sizes(layout, plan.precision, {.tokens = plan.host_tokens()});
  if (plan.host_attended_tokens() == 0) return sizes;
  const WorkspaceSizes attention =
      attention_sizes(layout, plan.precision, plan.host_attended_tokens());
  sizes.mixing_floats = std::max(sizes.mixing_floats, attention.mixing_floats);
  for (std::size_t form = 0; form < kActivationForms; ++form) {
    std::size_t& bytes = sizes.activation_bytes[form];
    bytes = std::max(bytes, attention.activation_bytes[form]);
  }
  return sizes;
}

Workspace lay_out(const ModelLayout& layout, const Plan& plan, std::byte* memory, float* vectors) {
  const WorkspaceSizes sizes = sizes_of(layout, plan);
  Workspace workspace{};
  workspace.precision = plan.precision;
  workspace.vectors = vectors;
  for (std::size_t form = 0; form < kActivationForms; ++form) {
    if (sizes.activation_bytes[form] == 0) continue;
    workspace.activations.forms[form] = memory;
    memory += align_up(sizes.activation_bytes[form]);
  }
  workspace.mixing = reinterpret_cast<float*>(memory);
  workspace.kv_layout = plan.host_kv;
  return workspace;
}

}  // namespace

std::size_t host_work_bytes(const ModelLayout& layout, const Plan& plan) {
  const WorkspaceSizes sizes = sizes_of(layout, plan);
  std::size_t bytes = align_up(sizes.mixing_floats * sizeof(float));
  for (const std::size_t form : sizes.activation_bytes) bytes += align_up(form);
  return bytes;
}

HostWorker::HostWorker(const ModelLayout& layout, const Plan& plan, std::vector<float> vectors,
                       ComputePace pace, Device& device)
    : layout_(layout),
      vectors_(std::move(vectors)),
      memory_(host_work_bytes(layout, plan)),
      pages_(plan.host_kv.total_bytes()),
      caches_(plan.layer_caches(Plan::Side::kHost, pages_.data())),
      ops_(pace),
      model_(layout, ops_, lay_out(layout, plan, memory_.data(), vectors_.data())) {
  if (plan.host_attended_tokens() > 0) warning_ = memory_.pin(device);
  if (plan.cache_slots == 0) return;
  const std::string warning = pages_.pin(device);
  if (warning_.empty()) warning_ = warning;
}

}  // namespace sluice
