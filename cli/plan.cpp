#include <iostream>

#include "cli/commands.h"
#include "cli/output_file.h"
#include "cli/plan_facts.h"
#include "cli/plan_file.h"
#include "cli/planned_model.h"
#include "cli/report.h"
#include "cli/session.h"
#include "cli/timeline.h"
#include "memory/error.h"
#include "memory/units.h"

namespace sluice {
namespace {

// What the plan was made for, where that isn't this machine, and whether its memory is enough.
std::string print_planned(const PlannedHardware& hardware, const ModelLayout& layout,
                          const Plan& plan) {
  std::string out = text("planned for ", hardware.describe(), "\n");
  std::size_t host = 0;
  for (std::size_t u = 0; u < plan.placement.size(); ++u) {
    if (plan.placement[u] != Placement::kResident) host += layout.units[u].size_bytes;
  }
  const auto has = static_cast<std::size_t>(hardware.host.memory_bytes);
  if (host > has) {
    out += text("note: ", hardware.host.name, " has ", print_bytes(has), " of memory, and ",
                print_bytes(host), " of weights are to wait there\n");
  }
  return out;
}

std::string planned_for(const Target& target, const Plan& plan) {
  if (target.planned) return target.planned->describe();
  return target.gpu != nullptr ? target.gpu->model() : std::string(device_of(plan));
}

std::string print_table(const PlanFacts& facts, const ModelLayout& layout, const Target& target) {
  const Plan& plan = facts.batch.plan;
  if (!target.planned) return print_plan(layout, plan) + print_facts(facts);
  return print_plan(layout, plan, "an estimate; a run measures it") + print_facts(facts) +
         print_planned(*target.planned, layout, plan);
}

}  // namespace

int plan_command(const PlanOptions& options) {
  const PlannedModel planned(options.on.model, options.weights);
  const OpenModel& model = planned.model();
  const Target target = choose_target(options.on, model.layout);
  const std::size_t wanted = options.prompt_tokens + options.max_tokens;
  const Workload workload{.sequences = options.sequences,
                          .prompt_tokens = options.prompt_tokens,
                          .max_tokens = options.max_tokens,
                          .context_tokens = options.on.context_tokens.value_or(wanted)};
  require_limit(model.layout, least_workload(workload, options.goal), target.limits);
  const Hardware hardware = hardware_for(model.layout, target);
  const PlanFacts facts =
      gather_facts(model.layout, workload, target.limits, hardware, options.goal);
  const Plan& plan = facts.batch.plan;
  const std::string json =
      print_facts_json(facts, model.layout, file_name(options.on.model), planned_for(target, plan));
  const bool print_json = options.json_file == "-";
  if (!options.json_file.empty() && !print_json) write_file(options.json_file, json);
  if (!options.save_file.empty()) {
    write_file(options.save_file, print_plan_file(model.layout, plan));
  }
  if (!options.timeline_file.empty()) {
    write_file(options.timeline_file,
               draw_timeline(PassPredictor(model.layout, plan, hardware), decode_pass_size(plan),
                             file_name(options.on.model), picture_subtitle(plan, options.on.link)));
  }
  std::cout << (print_json ? json : print_table(facts, model.layout, target));
  return 0;
}

}  // namespace sluice
