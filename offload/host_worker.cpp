#include "offload/host_worker.h"

#include "memory/units.h"

namespace sluice {
namespace {

WorkspaceSizes sizes_of(const ModelLayout& layout, const Plan& plan) {
  return workspace_sizes(layout, plan.precision, {.tokens = plan.host_tokens()});
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
                       ComputePace pace)
    : vectors_(std::move(vectors)),
      memory_(host_work_bytes(layout, plan)),
      ops_(pace),
      model_(layout, ops_, lay_out(layout, plan, memory_.data(), vectors_.data())) {}

}  // namespace sluice
