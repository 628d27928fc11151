#include "cli/session.h"

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "cli/placement_pins.h"
#include "cli/probe_cache.h"
#include "memory/error.h"
#include "memory/units.h"
#include "offload/disk_probe.h"
#include "offload/kv_choice.h"
#include "offload/probe.h"

namespace sluice {
namespace {

// Of a GPU's free memory, what is left to others where no limit is given: a desktop's windows grow.
constexpr std::size_t kFreeMarginBytes = 256_MiB;

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

// Opens a GPU where one is asked for, or might be had, but for one that is only named.
void choose_gpu(const PlacementOptions& options, Target& target) {
  if (!options.hardware.gpu.empty()) {
    if (options.device == DeviceChoice::kCpu || options.device == DeviceChoice::kSim) {
      throw Error(ErrorKind::kUsage, text("--gpu ", options.hardware.gpu,
                                          " is planned for as a cuda device; leave out --device"));
    }
    if (options.cached_rates) {
      throw Error(ErrorKind::kUsage,
                  "--cached-rates are this machine's, and --gpu names another's");
    }
    target.planned = find_hardware(options.hardware, options.link);
    return;
  }
  if (options.device == DeviceChoice::kCuda) {
    target.gpu = open_gpu(options.gpu);
  } else if (options.device == DeviceChoice::kAuto && built_with_gpu()) {
    try {
      target.gpu = open_gpu(options.gpu);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kDevice) throw;
      target.note = text("going on without a GPU: ", error.what());
    }
  }
}

// Of a GPU's memory, before a plan: half of what the limit leaves beside the driver's own, which
// grows meanwhile.
std::size_t bytes_to_measure(const Target& target) {
  const std::size_t free = target.gpu->free_bytes();
  const std::size_t overhead = target.gpu->overhead_bytes();
  const std::size_t limit = target.limits.device_bytes.value_or(free + overhead);
  return std::min(free, limit - std::min(limit, overhead)) / 2;
}

// Of a GPU's memory: what is to be had, the driver's own included; every limit is kept with both.
struct GpuMemory {
  std::size_t free_bytes;
  std::size_t context_bytes;
  std::string whose;  // for errors
};
GpuMemory memory_of(const Target& target) {
  if (target.planned) {
    return {target.planned->memory_bytes(), target.planned->context_bytes(),
            text("of ", target.planned->gpu.title, "'s memory there are ",
                 print_bytes(target.planned->memory_bytes()))};
  }
  const std::size_t overhead = target.gpu->overhead_bytes();
  const std::size_t free = target.gpu->free_bytes() + overhead;
  return {free, overhead, text("of the GPU's memory ", print_bytes(free), " are free")};
}

void limit_gpu(const std::string& vram, Target& target) {
  const GpuMemory memory = memory_of(target);
  PlanLimits& limits = target.limits;
  limits.gpu = true;
  limits.context_bytes = memory.context_bytes;
  if (!limits.device_bytes) {
    const std::size_t margin = vram == "unlimited" ? 0 : kFreeMarginBytes;
    limits.device_bytes = memory.free_bytes - std::min(memory.free_bytes, margin);
  } else if (*limits.device_bytes > memory.free_bytes) {
    throw Error(ErrorKind::kOverBudget, text("--vram ", vram, ": ", memory.whose,
                                             "; give that much or less, or --vram auto"));
  }
}

std::shared_ptr<Gpu> timed(const std::shared_ptr<Gpu>& gpu, bool wanted) {
  if (gpu != nullptr && wanted) gpu->time_spans();
  return gpu;
}

EngineOptions paced(EngineOptions options, const Target& target) {
  options.host_pace = target.host_pace;
  return options;
}

std::unique_ptr<DeviceSim> make_sim(const Plan& plan, const Target& target) {
  return std::make_unique<DeviceSim>(
      SimOptions{.in_place = target.in_place,
                 .limit_bytes = plan.limit_bytes.value_or(std::numeric_limits<std::size_t>::max()),
                 .to_device = target.link,
                 .to_host = target.link,
                 .on_reserve = {}});
}

}  // namespace

Target choose_target(const PlacementOptions& options, const ModelLayout& layout,
                     std::optional<GpuRates>* peaks) {
  Target target;
  choose_gpu(options, target);
  const bool has_gpu = target.gpu != nullptr || target.planned;
  const bool any_vram = options.vram == "auto" && has_gpu;
  target.in_place = options.device == DeviceChoice::kCpu ||
                    (options.device == DeviceChoice::kAuto && !has_gpu && options.vram.empty());
  const bool host_takes_units = has_gpu || options.host_units_auto ||
                                options.host_units.value_or(0) > 0 || options.host_pace.given();
  const bool attends_alone = options.host_cache_auto && !host_takes_units;
  target.limits = {.in_place = target.in_place,
                   .device_bytes = any_vram ? std::nullopt : parse_vram(options.vram, layout),
                   .slots = options.slots,
                   .segment_tokens = options.segment_tokens,
                   .kv_types = options.kv_types,
                   .precision = options.precision,
                   .host_computes = host_takes_units || attends_alone,
                   .host_units = attends_alone ? 0 : options.host_units,
                   .host_cache_layers = options.host_cache_layers,
                   .cache_slots = options.cache_slots,
                   .host_bytes = options.ram_bytes};
  if (target.planned && !options.ram_bytes) target.limits.host_bytes = target.planned->host_bytes();
  apply_pins(options.place, options.resident_units, layout, target.limits);
  const bool names_link = !options.hardware.link.empty();
  const bool has_link = options.link || names_link;
  if (options.link) target.link = *options.link;
  target.device_pace = options.device_pace;
  target.host_pace = options.host_pace;
  target.cached_rates = options.cached_rates;
  if (names_link && !target.planned) target.link = find_link(options.hardware);
  const auto refuse = [](const char* option, const char* why) {
    throw Error(ErrorKind::kUsage, text(option, " has no meaning on ", why));
  };
  const bool sim = !has_gpu && !target.in_place;
  if (options.device_pace.given() && !sim) refuse("--device-flops", "another device than sim");
  if (options.host_pace.given() && !sim) {
    refuse("--host-flops or --host-bandwidth", "another device than sim");
  }
  if (target.gpu != nullptr) {
    if (has_link) refuse("--link", "the cuda device, whose link is real; use --device sim");
    if (peaks != nullptr) *peaks = target.gpu->measure_peaks(bytes_to_measure(target));
  }
  if (has_gpu) limit_gpu(options.vram, target);
  if (!target.in_place) return target;
  // The cpu device copies nothing: what only makes sense for copies would be ignored in silence.
  constexpr const char* kInPlace = "the cpu device, which reads weights in place; use --device sim";
  if (target.limits.device_bytes) refuse("--vram", kInPlace);
  if (has_link) refuse("--link", kInPlace);
  if (options.slots) refuse("--slots", kInPlace);
  if (options.host_units || options.host_units_auto) refuse("--host-units", kInPlace);
  if (options.host_cache_layers || options.host_cache_auto) refuse("--host-cache", kInPlace);
  if (options.cache_slots) refuse("--cache-slots", kInPlace);
  if (!options.place.empty()) refuse("--place", kInPlace);
  if (options.resident_units) refuse("--resident", kInPlace);
  if (options.ram_bytes) refuse("--ram", kInPlace);
  return target;
}

namespace {

// Those that sluice probe has kept, where they are asked for.
std::optional<MachineProbe> kept_rates(const Target& target) {
  if (!target.cached_rates) return {};
  std::string why;
  std::optional<MachineProbe> probe =
      read_cached(this_machine(target.gpu == nullptr ? "" : target.gpu->model()), why);
  if (!probe) {
    throw Error(ErrorKind::kUsage,
                text("--cached-rates: ",
                     why.empty() ? "none are kept of this machine by this version" : why,
                     "; run sluice probe, which keeps them"));
  }
  return probe;
}

}  // namespace

Hardware hardware_for(const OpenModel& model, const Target& target, std::size_t most_tokens) {
  const ModelLayout& layout = model.layout;
  const Precision precision = target.limits.precision.value_or(default_precision(layout));
  if (target.planned) return target.planned->rates(precision);
  const std::optional<MachineProbe> probe = kept_rates(target);
  std::optional<Hardware> cached;  // the quick probe's where that has no rates of a type of weights
  if (probe) cached = hardware_of(probe->rates, layout, precision, target.link);
  Hardware hardware =
      cached ? *cached
             : probe_host(layout, precision, target.link, kv_types_of(layout, target.limits),
                          {.most_tokens = most_tokens,
                           .copies = !target.in_place,
                           .host_bytes = target.limits.host_bytes});
  if (target.gpu != nullptr && cached && probe->rates.gpu) {
    hardware = with_gpu(*probe->rates.gpu, precision, *cached);
  } else if (target.gpu != nullptr) {
    hardware = gpu_hardware(target.gpu->measure_rates(), precision, hardware.host);
  }
  hardware.device.pace = target.device_pace;
  hardware.host.pace = target.host_pace;
  const std::optional<std::size_t> ram = target.limits.host_bytes;
  if (ram && layout.units_bytes() > *ram) hardware.disk = probe_disk(model.file);
  return hardware;
}

Plan plan_for(const OpenModel& model, const Workload& workload, const Target& target,
              Hardware* hardware) {
  require_limit(model.layout, workload, target.limits);
  const std::size_t tokens = workload.sequences * std::max<std::size_t>(workload.prompt_tokens, 1);
  const Hardware measured = hardware_for(model, target, tokens);
  if (hardware != nullptr) *hardware = measured;
  return make_plan(model.layout, workload, target.limits, measured);
}

// What is streamed is worth events with times, which tell how well copies hide.
LoadedModel::LoadedModel(const OpenModel& model, const Plan& plan, const Target& target,
                         const EngineOptions& options)
    : gpu_(timed(target.gpu, plan.slots > 0 || options.trace)),
      sim_(gpu_ == nullptr ? make_sim(plan, target) : nullptr),
      cpu_(target.device_pace),
      device(gpu_ == nullptr ? *sim_ : gpu_->device()),
      engine(model.file, model.layout, plan, device, gpu_ == nullptr ? cpu_ : gpu_->ops(),
             paced(options, target)) {}

}  // namespace sluice
