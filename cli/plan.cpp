#include <iostream>

#include "cli/commands.h"
#include "cli/output_file.h"
#include "cli/planned_model.h"
#include "cli/report.h"
#include "cli/session.h"
#include "cli/timeline.h"
#include "memory/error.h"
#include "memory/units.h"

namespace sluice {

int plan_command(const PlanOptions& options) {
  const PlannedModel planned(options.on.model, options.weights);
  const OpenModel& model = planned.model();
  const Target target = choose_target(options.on, model.layout);
  const std::size_t wanted = options.prompt_tokens + options.max_tokens;
  const Workload workload{.sequences = options.sequences,
                          .prompt_tokens = options.prompt_tokens,
                          .max_tokens = options.max_tokens,
                          .context_tokens = options.on.context_tokens.value_or(wanted)};
  Hardware hardware;
  const Plan plan = plan_for(model, workload, target, &hardware);
  if (target.planned) {
    std::cout << print_plan(model.layout, plan, "an estimate; a run measures it") << "planned for "
              << target.planned->describe() << '\n';
  } else {
    std::cout << print_plan(model.layout, plan);
  }
  if (!target.in_place) {
    const std::size_t smallest = smallest_limit_bytes(model.layout, workload, target.limits);
    std::cout << "smallest limit that works: " << smallest << " bytes (" << print_bytes(smallest)
              << ")\n";
  }
  if (!options.timeline_file.empty()) {
    write_file(options.timeline_file,
               draw_timeline(PassPredictor(model.layout, plan, hardware), decode_pass_size(plan),
                             file_name(options.on.model), picture_subtitle(plan, options.on.link)));
  }
  return 0;
}

}  // namespace sluice
