// Any bytes, read as a plan for a tiny model: an Error of one line, or a plan that makes a
// schedule.
//
//   build/fuzz/fuzz_plan_file -max_len=8192 CORPUS tests/fuzz/seeds/plan_file
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "cli/memory_model.h"
#include "cli/plan_file.h"
#include "cli/session.h"
#include "memory/error.h"
#include "memory/units.h"
#include "offload/schedule.h"

namespace sluice {
namespace {

void demand(bool promise) {
  if (!promise) std::abort();
}

const ModelLayout& layout() {
  static const MemoryModel header(SyntheticModel(*find_shape("tiny"), parse_weights("q4_k_m"), 1),
                                  MemoryModel::HeaderOnly{});
  static const OpenModel model(header.path());
  return model.layout;
}

// Each copy has a slot that is free, and each piece that is computed is there.
void check_pass(const Plan& plan, const Schedule& schedule, const std::vector<Step>& steps) {
  std::size_t sent = schedule.prologue.size();
  std::size_t read = 0;
  for (const Step& step : steps) {
    const bool has_piece = step.kind == StepKind::kCopy || step.kind == StepKind::kCompute ||
                           step.kind == StepKind::kHost;
    if (has_piece) demand(step.piece < schedule.pieces.size());
    if (step.kind == StepKind::kCopy) {
      demand(schedule.pieces[step.piece].size_bytes <= align_up(plan.slot_bytes));
      demand(++sent - read <= plan.slots);
    }
    if (step.kind == StepKind::kCompute && schedule.outside[step.piece]) demand(read++ < sent);
  }
  demand(sent - read == schedule.prologue.size());
}

void check_plan(const Plan& plan) {
  const ModelLayout& model = layout();
  demand(!plan.limit_bytes || plan.bytes.total() <= *plan.limit_bytes);
  const Schedule schedule = make_schedule(model, plan);
  demand(schedule.prologue.size() <= plan.slots);
  for (std::size_t route = 0; route <= plan.routes.size(); ++route) {
    for (const bool logits : {false, true}) {
      check_pass(plan, schedule, pass_steps(model, plan, schedule, route, logits));
    }
  }
  const std::string json = print_plan_file(model, plan);
  demand(print_plan_file(model, parse_plan_file(json, "FILE", model)) == json);
}

}  // namespace
}  // namespace sluice

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;
  std::optional<Plan> plan;
  try {
    plan = parse_plan_file({reinterpret_cast<const char*>(data), size}, "FILE", layout());
  } catch (const Error& error) {
    demand(error.kind() == ErrorKind::kBadFile);
    const std::string_view message = error.what();
    demand(message.starts_with("FILE") && message.find('\n') == std::string_view::npos);
    return 0;
  }
  check_plan(*plan);
  return 0;
}
