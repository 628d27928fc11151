#include <nlohmann/json.hpp>

#include "cli/plan_facts.h"
#include "cli/plan_file.h"
#include "memory/printable.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

Json speeds_json(const BatchPlan& batch) {
  const Plan& plan = batch.plan;
  const Workload& w = plan.workload;
  const Prediction& p = plan.predicted;
  return {{"at_once", batch.at_once()},
          {"rounds", batch.rounds},
          {"seconds", batch.seconds()},
          {"tokens_per_second", batch.tokens_per_second()},
          {"prefill_tokens_per_second",
           static_cast<double>(w.prompt_tokens * w.sequences) / p.prefill_seconds},
          {"decode_tokens_per_second", static_cast<double>(w.sequences) / p.decode_pass_seconds}};
}

Json busiest_json(const BusiestLane& busiest) {
  return {{"lane", busiest.lane->name}, {"busy_share", busiest.share}};
}

Json changed_json(const std::optional<BatchPlan>& other) {
  if (!other) return nullptr;
  Json json = speeds_json(*other);
  json["limit_bytes"] = other->plan.limit_bytes ? Json(*other->plan.limit_bytes) : Json(nullptr);
  json["device_bytes"] = other->plan.bytes.total();
  json["kind"] = describe_kind(other->plan);
  json["kv_type"] = kv_type_name(other->plan.kv.type);
  return json;
}

// Where each unit is, and in passes of up to how many tokens the host computes it.
Json units_json(const ModelLayout& layout, const Plan& plan) {
  Json units = Json::array();
  for (std::size_t unit = 0; unit < layout.units.size(); ++unit) {
    std::size_t host_tokens = 0;
    for (const Route& route : plan.routes) {
      if (route.by_host[unit]) host_tokens = route.tokens;
    }
    units.push_back({{"name", layout.units[unit].name()},
                     {"size_bytes", layout.units[unit].size_bytes},
                     {"placement", kPlacementNames[static_cast<std::size_t>(plan.placement[unit])]},
                     {"host_tokens", host_tokens}});
  }
  return units;
}

}  // namespace

std::string print_facts_json(const PlanFacts& facts, const ModelLayout& layout,
                             const std::string& model, const std::string& planned_for) {
  const Plan& plan = facts.batch.plan;
  std::array<std::size_t, kPlacementNames.size()> weights_bytes{};
  for (std::size_t unit = 0; unit < plan.placement.size(); ++unit) {
    weights_bytes[static_cast<std::size_t>(plan.placement[unit])] += layout.units[unit].size_bytes;
  }
  const auto weights_in = [&](Placement p) { return weights_bytes[static_cast<std::size_t>(p)]; };
  const HostBytes& host = plan.host_bytes;
  const Json json = {
      {"model", printable(model)},
      {"planned_for", printable(planned_for, 200)},
      {"device_rates", rates_from_name(facts.device_from)},
      {"goal", facts.goal == Goal::kThroughput ? "throughput" : "latency"},
      {"sequences", facts.batch.sequences},
      {"predicted", speeds_json(facts.batch)},
      {"bound_by",
       {{"prefill", busiest_json(facts.prefill)}, {"decode", busiest_json(facts.decode)}}},
      {"smallest_limit_bytes",
       facts.smallest_bytes > 0 ? Json(facts.smallest_bytes) : Json(nullptr)},
      {"host_weights_bytes", weights_in(Placement::kHost) + weights_in(Placement::kInPlace)},
      {"disk_weights_bytes", weights_in(Placement::kDisk)},
      {"host_bytes",
       {{"weights", host.store},
        {"disk_buffers", host.disk},
        {"cache", host.cache},
        {"work", host.work},
        {"staging", host.staging},
        {"total", host.total()}}},
      {"streamed_bytes_per_pass", plan.streamed_bytes(layout, plan.workload.sequences)},
      {"step_bytes", facts.what_if.step_bytes},
      {"more", changed_json(facts.what_if.more)},
      {"less", changed_json(facts.what_if.less)},
      {"runner_up", changed_json(facts.what_if.runner_up)},
      {"units", units_json(layout, plan)},
      {"plan", plan_json(layout, plan)}};
  return json.dump(2) + "\n";
}

}  // namespace sluice
