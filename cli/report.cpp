#include "cli/report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/format.h"
#include "cli/lateness.h"
#include "memory/error.h"
#include "memory/units.h"

namespace sluice {
namespace {

double per_second(std::size_t count, double seconds) {
  return seconds > 0.0 ? static_cast<double>(count) / seconds : 0.0;
}

// Time of the passes over the longest of reading, copying and computing, by the device and the host
// in turn: 1 is perfect overlap.
double overlap_ratio(const EngineCounters& counters) {
  const double longer = std::max({counters.disk_seconds, counters.copy_seconds,
                                  counters.compute_seconds + counters.host_seconds});
  return longer > 0.0 ? counters.pass_seconds / longer : 1.0;
}

std::string where_weights_are(const ModelLayout& layout, const Plan& plan) {
  const UnitCounts units = count_units(plan);
  const std::size_t all = plan.placement.size();
  if (units.in_place == all) {
    return text("all ", all, " units in host memory, ", print_bytes(layout.units_bytes()),
                ", read in place");
  }
  std::string line =
      text(units.resident, " of ", all, " units resident, ", print_bytes(plan.bytes.resident));
  if (units.streamed + units.host == 0) return line;
  if (units.host > 0) {
    line += text("; ", units.host, " computed by the host in passes of up to ", plan.host_tokens(),
                 " tokens");
  }
  line += text("; ", units.streamed, " streamed, ",
               print_bytes(plan.streamed_bytes(layout, plan.workload.sequences)),
               " a pass through ", plan.slots, " slots of ", print_bytes(plan.slot_bytes));
  if (units.disk == 0) return line;
  return line + text("; ", units.disk, " read from the disk, ",
                     print_bytes(plan.disk_bytes(layout)), " a pass");
}

std::string cache_layers(const Plan& plan, const KvLayout& kv) {
  return text(kv.layers, " of ", plan.kv.layers + plan.host_kv.layers, " layers");
}

// To caches in host memory.
std::string who_attends(const Plan& plan) {
  const std::size_t tokens = plan.host_attended_tokens();
  if (plan.cache_slots == 0) return "where the host attends";
  if (tokens == 0) return "streamed";
  return text("where the host attends in passes of up to ", tokens, " tokens; else streamed");
}

std::string what_binds(const EngineCounters& counters) {
  const double most =
      std::max({counters.disk_seconds, counters.copy_seconds, counters.compute_seconds});
  return most == counters.compute_seconds ? "computation"
         : most == counters.copy_seconds  ? "the link"
                                          : "the disk";
}

}  // namespace

UnitCounts count_units(const Plan& plan) {
  const auto count = [&](Placement where) {
    return static_cast<std::size_t>(std::ranges::count(plan.placement, where));
  };
  const std::size_t by_host = plan.host_units(plan.workload.sequences);
  return {.resident = count(Placement::kResident),
          .in_place = count(Placement::kInPlace),
          .streamed = count(Placement::kHost) + count(Placement::kDisk) - by_host,
          .host = by_host,
          .disk = count(Placement::kDisk)};
}

std::string print_plan(const ModelLayout& layout, const Plan& plan, std::string_view context_from) {
  const UnitCounts units = count_units(plan);
  const PlanBytes& b = plan.bytes;
  const auto row = [](const char* what, std::size_t bytes, const std::string& note) {
    return format("  %-22s %14zu  %10s  ", what, bytes, print_bytes(bytes).c_str()) + note + "\n";
  };
  const Workload& w = plan.workload;
  const bool all_logits = w.all_logits;
  std::string out = "device memory                   bytes\n";
  out += row("resident weights", b.resident,
             text(units.resident, " of ", plan.placement.size(), " units"));
  out += row("slots", b.slots,
             plan.slots == 0 ? "nothing is streamed"
                             : text(plan.slots, " of ", print_bytes(plan.slot_bytes)));
  out += row("norms and biases", b.vectors, "");
  out += row("keys and values", b.kv,
             text(w.sequences, w.sequences == 1 ? " sequence of " : " sequences of ",
                  w.context_tokens, " tokens, ", kv_type_name(plan.kv.type),
                  plan.host_kv.layers == 0 ? "" : text(", ", cache_layers(plan, plan.kv))));
  if (plan.cache_slots > 0) {
    out += row("cache slots", b.cache_slots,
               text(plan.cache_slots, " of ", print_bytes(plan.host_kv.layer_bytes()),
                    ", for keys and values in host memory"));
  }
  out += row("activations", b.activations,
             text("segments of ", plan.segment_tokens, " tokens, ", precision_name(plan.precision),
                  " precision"));
  out += row("input of a pass", b.input, "");
  out += row("logits", b.logits, all_logits ? "of every token" : "");
  if (plan.gpu) {
    out += row("scratch", b.scratch, "of products and attention");
    out += row("driver's context", b.context, std::string(context_from));
  }
  out += row("total", b.total(),
             plan.limit_bytes ? text("of ", *plan.limit_bytes, " (", print_bytes(*plan.limit_bytes),
                                     "), ", *plan.limit_bytes - b.total(), " to spare")
                              : "no limit");
  const Prediction& p = plan.predicted;
  const HostBytes& h = plan.host_bytes;
  out += "host memory\n";
  out += row(units.in_place > 0 ? "weights, in place" : "streamed weights", h.store,
             text(plan.placement.size() - units.resident - units.disk, " of ",
                  plan.placement.size(), " units"));
  if (plan.disk_buffers > 0) {
    out += row("buffers of the disk", h.disk,
               text(units.disk, " of ", plan.placement.size(), " units, ",
                    print_bytes(plan.disk_bytes(layout)), ", through ", plan.disk_buffers, " of ",
                    print_bytes(plan.disk_buffer_bytes)));
  }
  if (h.cache > 0) {
    out += row("keys and values", h.cache,
               text(cache_layers(plan, plan.host_kv), ", ", who_attends(plan)));
  }
  if (h.work > 0) out += row("the host's computing", h.work, "");
  out += row("inputs and logits", h.staging, "");
  out += row("total", h.total(),
             plan.host_limit_bytes
                 ? text("of ", *plan.host_limit_bytes, " (", print_bytes(*plan.host_limit_bytes),
                        "), ", *plan.host_limit_bytes - h.total(), " to spare")
                 : "no limit");
  out += "predicted\n";
  out += format("  prefill %20.1f tokens/s  %.3f s for %zu x %zu tokens\n",
                per_second(w.prompt_tokens * w.sequences, p.prefill_seconds), p.prefill_seconds,
                w.sequences, w.prompt_tokens);
  out += format("  decode  %20.1f tokens/s  %.2f ms a pass, %s over the link\n",
                per_second(w.sequences, p.decode_pass_seconds), p.decode_pass_seconds * 1e3,
                print_bytes(static_cast<std::uint64_t>(p.link_bytes_per_pass)).c_str());
  return out;
}

std::string print_report(const LoadedModel& model, const ModelLayout& layout, const Plan& plan,
                         const RunFigures& f) {
  const EngineCounters counters = model.engine.counters();
  std::string out;
  out += text("device     ", model.device.name(), ", ");
  out += plan.limit_bytes ? text("limit ", print_bytes(*plan.limit_bytes)) : "no limit";
  out += text(", peak ", print_bytes(plan.bytes.total()), "\n");
  out += text("weights    ", where_weights_are(layout, plan), "\n");
  if (plan.host_kv.layers > 0) {
    out += text("cache      ", cache_layers(plan, plan.host_kv), " in host memory, ",
                print_bytes(plan.host_bytes.cache), ", ", who_attends(plan), "\n");
  }
  out += format("prompt     %zu tokens in %.3f s, %.1f tokens/s\n", f.prompt_tokens,
                f.prefill_seconds, per_second(f.prompt_tokens, f.prefill_seconds));
  out += format("generated  %zu tokens in %.3f s, %.1f tokens/s (predicted %.1f)\n",
                f.generated_tokens, f.decode_seconds, per_second(f.decode_passes, f.decode_seconds),
                per_second(1, plan.predicted.decode_pass_seconds));
  if (plan.slots > 0) {
    std::string reading;
    if (plan.disk_buffers > 0) reading = format("reading %.3f s, ", counters.disk_seconds);
    out += format(
        "bound by   %s: %scopying %.3f s, computing %.3f s, together %.3f s (overlap %.2f)\n",
        what_binds(counters).c_str(), reading.c_str(), counters.copy_seconds,
        counters.compute_seconds, counters.pass_seconds, overlap_ratio(counters));
  }
  if (const auto late = find_lateness(f, plan)) out += print_lateness(*late);
  return out;
}

std::string print_stats(const LoadedModel& model, const ModelLayout& layout, const Plan& plan,
                        const RunFigures& f) {
  const EngineCounters counters = model.engine.counters();
  const UnitCounts units = count_units(plan);
  nlohmann::ordered_json json;
  json["device"] = model.device.name();
  json["device_limit_bytes"] = plan.limit_bytes ? nlohmann::ordered_json(*plan.limit_bytes)
                                                : nlohmann::ordered_json(nullptr);
  json["device_peak_bytes"] = plan.bytes.total();
  json["host_limit_bytes"] = plan.host_limit_bytes ? nlohmann::ordered_json(*plan.host_limit_bytes)
                                                   : nlohmann::ordered_json(nullptr);
  json["host_bytes"] = model.engine.host_bytes();
  json["weights_bytes"] = layout.units_bytes();
  json["resident_bytes"] = plan.bytes.resident;
  json["streamed_bytes_per_pass"] = plan.streamed_bytes(layout, plan.workload.sequences);
  json["resident_units"] = units.resident;
  json["streamed_units"] = units.streamed;
  json["host_units"] = units.host;
  json["host_cache_layers"] = plan.host_kv.layers;
  json["cache_slots"] = plan.cache_slots;
  json["disk_units"] = units.disk;
  json["disk_bytes_per_pass"] = plan.disk_bytes(layout);
  json["slots"] = plan.slots;
  json["slot_bytes"] = plan.slot_bytes;
  json["segment_tokens"] = plan.segment_tokens;
  json["precision"] = precision_name(plan.precision);
  json["kv_type"] = kv_type_name(plan.kv.type);
  json["context_tokens"] = plan.workload.context_tokens;
  json["link_bytes"] = model.engine.link_bytes();
  json["disk_bytes"] = model.engine.disk_bytes();
  json["prompt_tokens"] = f.prompt_tokens;
  json["generated_tokens"] = f.generated_tokens;
  json["passes"] = counters.passes;
  json["first_token_seconds"] = f.start_seconds;
  json["load_seconds"] = f.load_seconds;
  json["prefill_seconds"] = f.prefill_seconds;
  json["decode_seconds"] = f.decode_seconds;
  json["prefill_tokens_per_second"] = per_second(f.prompt_tokens, f.prefill_seconds);
  json["decode_tokens_per_second"] = per_second(f.decode_passes, f.decode_seconds);
  json["pass_seconds"] = counters.pass_seconds;
  json["copy_seconds"] = counters.copy_seconds;
  json["compute_seconds"] = counters.compute_seconds;
  json["host_seconds"] = counters.host_seconds;
  json["disk_seconds"] = counters.disk_seconds;
  json["overlap_ratio"] = overlap_ratio(counters);
  json["predicted_prefill_seconds"] = plan.predicted.prefill_seconds;
  json["predicted_decode_seconds"] =
      plan.predicted.decode_pass_seconds * static_cast<double>(f.decode_passes);
  json["predicted_decode_tokens_per_second"] = per_second(1, plan.predicted.decode_pass_seconds);
  add_decode_lanes(json, f, plan);
  return json.dump(2) + "\n";
}

}  // namespace sluice
