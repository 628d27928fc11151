#include "cli/given_plan.h"

#include "cli/plan_file.h"
#include "memory/error.h"
#include "memory/printable.h"
#include "memory/units.h"

namespace sluice {
namespace {

void refuse_fixed(const PlacementOptions& on) {
  std::string given;
  const auto note = [&](const char* option, bool is_given) {
    if (is_given) given += text(given.empty() ? "" : ", ", option);
  };
  note("--slots", on.slots.has_value());
  note("--segment", on.segment_tokens.has_value());
  note("--ctx", on.context_tokens.has_value());
  note("--host-units", on.host_units.has_value() || on.host_units_auto);
  note("--host-cache", on.host_cache_layers.has_value() || on.host_cache_auto);
  note("--cache-slots", on.cache_slots.has_value());
  note("--place", !on.place.empty());
  note("--resident", on.resident_units.has_value());
  note("--kv-types", !on.kv_types.empty());
  note("--precision", on.precision.has_value());
  if (given.empty()) return;
  throw Error(ErrorKind::kUsage, text("beside --plan, which fixes it, there is ", given,
                                      "; leave that out, or give it to sluice plan --save"));
}

DeviceChoice choice_of(const Plan& plan) {
  const std::string_view device = device_of(plan);
  return device == "cuda"  ? DeviceChoice::kCuda
         : device == "cpu" ? DeviceChoice::kCpu
                           : DeviceChoice::kSim;
}

}  // namespace

Plan GivenPlan::fit(const Target& target) const {
  const std::optional<std::size_t>& limit = target.limits.device_bytes;
  const std::size_t wanted = plan.limit_bytes.value_or(plan.bytes.total());
  if (limit && *limit < wanted) {
    throw Error(ErrorKind::kOverBudget,
                text("--plan ", printable(on.plan_file), " keeps a limit of ", wanted, " bytes (",
                     print_bytes(wanted), "), --vram allows ", *limit, " (", print_bytes(*limit),
                     "); give that much, or make a plan for less"));
  }
  Plan fitted = plan;
  fitted.bytes.context = target.limits.context_bytes;
  if (plan.limit_bytes && fitted.bytes.total() > *plan.limit_bytes) {
    throw Error(ErrorKind::kOverBudget,
                text("--plan ", printable(on.plan_file), " has room for ", plan.bytes.context,
                     " bytes of the GPU's driver, which takes ", fitted.bytes.context,
                     " here; make the plan on this machine"));
  }
  return fitted;
}

std::optional<GivenPlan> read_given_plan(const PlacementOptions& on, const ModelLayout& layout) {
  if (on.plan_file.empty()) return std::nullopt;
  refuse_fixed(on);
  GivenPlan given{read_plan_file(on.plan_file, layout), on};
  const DeviceChoice device = choice_of(given.plan);
  if (on.device != DeviceChoice::kAuto && on.device != device) {
    throw Error(ErrorKind::kUsage, text("--plan ", printable(on.plan_file), " is for the device ",
                                        device_of(given.plan), "; leave out --device"));
  }
  if (given.plan.gpu && !built_with_gpu()) {
    throw Error(ErrorKind::kUsage, text("--plan ", printable(on.plan_file),
                                        " is for a GPU, and this sluice was built ",
                                        "without CUDA; make a plan with --device sim or cpu"));
  }
  given.on.device = device;
  given.on.precision = given.plan.precision;
  if (on.vram.empty() && given.plan.limit_bytes) {
    given.on.vram = std::to_string(*given.plan.limit_bytes);
  }
  return given;
}

}  // namespace sluice
