#include <iostream>

#include "cli/commands.h"
#include "cli/report.h"
#include "cli/session.h"
#include "memory/units.h"

namespace sluice {

int plan_command(const PlanOptions& options) {
  const OpenModel model(options.on.model);
  const Target target = choose_target(options.on, model.layout);
  const std::size_t wanted = options.prompt_tokens + options.max_tokens;
  const Workload workload{.sequences = options.sequences,
                          .prompt_tokens = options.prompt_tokens,
                          .max_tokens = options.max_tokens,
                          .context_tokens = options.on.context_tokens.value_or(wanted)};
  const Plan plan = plan_for(model.file, model.layout, workload, target);
  std::cout << print_plan(model.layout, plan);
  if (!target.in_place) {
    const std::size_t smallest = smallest_limit_bytes(model.layout, workload, target.limits);
    std::cout << "smallest limit that works: " << smallest << " bytes (" << print_bytes(smallest)
              << ")\n";
  }
  return 0;
}

}  // namespace sluice
