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

std::string planned_for(const Target& target, const Plan& plan) {
  if (target.planned) return target.planned->describe();
  return target.gpu != nullptr ? target.gpu->model() : std::string(device_of(plan));
}

std::string print_table(const PlanFacts& facts, const ModelLayout& layout, const Target& target) {
  const Plan& plan = facts.batch.plan;
  if (!target.planned) {
    const bool by_clocks = facts.device_from == RatesFrom::kClocks;
    return print_plan(layout, plan) + print_facts(facts) +
           (by_clocks ? "rates    the GPU's are by its clocks; sluice probe measures them, and"
                        " --cached-rates takes those\n"
                      : "");
  }
  return print_plan(layout, plan, "an estimate; a run measures it") + print_facts(facts) +
         text("planned for ", target.planned->describe(), "\n");
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
  const Hardware hardware = hardware_for(model, target);
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
