#include "cli/session.h"

#include <cstdlib>
#include <limits>

#include "memory/error.h"
#include "memory/units.h"

namespace sluice {
namespace {

// A limit in bytes, or none for "unlimited".
std::optional<std::size_t> parse_vram(const std::string& value, const ModelLayout& layout) {
  if (value.empty() || value == "unlimited") return std::nullopt;
  if (!value.ends_with('%')) return parse_bytes(value, "--vram");
  char* end = nullptr;
  const double percent = std::strtod(value.c_str(), &end);
  if (end != value.c_str() + value.size() - 1 || !(percent > 0.0 && percent <= 1000.0)) {
    throw Error(ErrorKind::kUsage, text("--vram ", value, ": a share looks like 50%"));
  }
  return static_cast<std::size_t>(percent / 100.0 * static_cast<double>(layout.units_bytes()));
}

}  // namespace

Target choose_target(const PlacementOptions& options, const ModelLayout& layout) {
  if (options.device == DeviceChoice::kCuda) {
    throw Error(ErrorKind::kUsage,
                "--device cuda: this sluice was built without CUDA; use sim or cpu");
  }
  Target target;
  target.in_place = options.device == DeviceChoice::kCpu ||
                    (options.device == DeviceChoice::kAuto && options.vram.empty());
  target.limits = {.in_place = target.in_place,
                   .device_bytes = parse_vram(options.vram, layout),
                   .slots = options.slots,
                   .segment_tokens = options.segment_tokens,
                   .kv_type = options.kv_type,
                   .precision = options.precision};
  if (options.link) target.link = *options.link;
  if (!target.in_place) return target;
  // The cpu device copies nothing: what only makes sense for copies would be ignored in silence.
  const auto refuse = [](const char* option) {
    throw Error(ErrorKind::kUsage, text(option,
                                        " has no meaning on the cpu device, which reads "
                                        "weights in place; use --device sim"));
  };
  if (target.limits.device_bytes) refuse("--vram");
  if (options.link) refuse("--link");
  if (options.slots) refuse("--slots");
  return target;
}

Plan plan_for(const ModelLayout& layout, const Workload& workload, const Target& target) {
  require_limit(layout, workload, target.limits);
  const Precision precision = target.limits.precision.value_or(default_precision(layout));
  const Hardware hardware = probe_host(layout, precision, target.link);
  return make_plan(layout, workload, target.limits, hardware);
}

LoadedModel::LoadedModel(const OpenModel& model, const Plan& plan, const Target& target,
                         const EngineOptions& options)
    : device({.in_place = target.in_place,
              .limit_bytes = plan.limit_bytes.value_or(std::numeric_limits<std::size_t>::max()),
              .to_device = target.link,
              .to_host = target.link,
              .on_reserve = {}}),
      engine(model.file, model.layout, plan, device, ops, options) {}

}  // namespace sluice
