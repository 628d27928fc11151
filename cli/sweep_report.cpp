#include "cli/sweep_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/format.h"
#include "cli/report.h"
#include "memory/error.h"
#include "memory/printable.h"
#include "memory/units.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

void add_speeds(Json& json, const std::string& prefix, const std::optional<SweepSpeeds>& s) {
  const auto add = [&](const char* name, double SweepSpeeds::*value) {
    json[prefix + name] = s ? Json((*s).*value) : Json(nullptr);
  };
  add("prefill_seconds", &SweepSpeeds::prefill_seconds);
  add("prefill_tokens_per_second", &SweepSpeeds::prefill_tokens_per_second);
  add("decode_pass_seconds", &SweepSpeeds::decode_pass_seconds);
  add("decode_tokens_per_second", &SweepSpeeds::decode_tokens_per_second);
  add("total_seconds", &SweepSpeeds::total_seconds);
}

Json weights_json(const SweepSeries& series) {
  return series.weights.empty() ? Json(nullptr) : Json(series.weights);
}

// Every point has the same keys, which are CSV's columns.
Json point_json(const SweepSeries& series, const SweepPoint& point) {
  const Workload& w = series.workload;
  Json json = {{"vram_bytes", point.limit_bytes},
               {"sequences", w.sequences},
               {"context_tokens", w.context_tokens},
               {"fits", point.plan.has_value()},
               {"smallest_vram_bytes", point.smallest_bytes}};
  const auto add = [&](const char* name, const auto& of_plan) {
    json[name] = point.plan ? Json(of_plan(*point.plan)) : Json(nullptr);
  };
  add("device_bytes", [](const Plan& p) { return p.bytes.total(); });
  add("resident_units", [](const Plan& p) { return count_units(p).resident; });
  add("streamed_units", [](const Plan& p) { return count_units(p).streamed; });
  add("host_units", [](const Plan& p) { return count_units(p).host; });
  add("host_cache_layers", [](const Plan& p) { return p.host_kv.layers; });
  add("cache_slots", [](const Plan& p) { return p.cache_slots; });
  add("resident_bytes", [](const Plan& p) { return p.bytes.resident; });
  add("streamed_bytes_per_pass", [&](const Plan&) { return point.streamed_bytes; });
  add("host_bytes", [&](const Plan&) { return point.host_bytes; });
  add("slots", [](const Plan& p) { return p.slots; });
  add("slot_bytes", [](const Plan& p) { return p.slot_bytes; });
  add("segment_tokens", [](const Plan& p) { return p.segment_tokens; });
  add("at_once", [](const Plan& p) { return p.workload.sequences; });
  add("rounds", [&](const Plan&) { return point.rounds; });
  json["weights"] = weights_json(series);
  json["weights_bytes"] = series.weights_bytes;
  add("bound_by", [&](const Plan&) { return point.bound_by->name; });
  add_speeds(json, "predicted_",
             point.plan ? std::optional(predicted_speeds(point)) : std::nullopt);
  add_speeds(json, "measured_", measured_speeds(point));
  return json;
}

std::string csv_cell(const Json& value) {
  if (value.is_null()) return "";
  return value.is_string() ? value.get<std::string>() : value.dump();
}

// Two columns where there is something measured, else one.
std::string cells(const Sweep& sweep, double predicted, const std::optional<double>& measured) {
  const auto cell = [](double value) {
    return format(value < 9.995 ? " %10.2f" : " %10.1f", value);
  };
  if (!sweep.measured) return cell(predicted);
  return cell(predicted) + (measured ? cell(*measured) : format(" %10s", "-"));
}

}  // namespace

std::string print_sweep_head(const Sweep& sweep) {
  const int wide = sweep.measured ? 21 : 10;  // a column, or two and the blank between them
  std::string first = format("%10s  %24s  %10s", "", "units", "streamed");
  std::string second =
      format("%10s  %8s %8s %6s  %10s", "vram", "resident", "streamed", "host", "a pass");
  for (const char* name : {"prompt t/s", "decode t/s", "total s"}) {
    first += format(" %*s", wide, name);
    second += format(" %10s", "predicted");
    if (sweep.measured) second += format(" %10s", "measured");
  }
  return first + "\n" + second + "  bound by\n";
}

std::string print_sweep_row(const Sweep& sweep, const SweepPoint& point) {
  const std::string limit = format("%10s  ", print_bytes(point.limit_bytes).c_str());
  if (!point.plan) {
    return limit + text("too small: ", print_bytes(point.smallest_bytes), " (",
                        point.smallest_bytes, " bytes) would do\n");
  }
  const UnitCounts units = count_units(*point.plan);
  const auto streamed = static_cast<std::uint64_t>(point.plan->predicted.link_bytes_per_pass);
  const SweepSpeeds predicted = predicted_speeds(point);
  const std::optional<SweepSpeeds> measured = measured_speeds(point);
  std::string row = limit + format("%8zu %8zu %6zu  %10s", units.resident, units.streamed,
                                   units.host, print_bytes(streamed).c_str());
  for (double SweepSpeeds::*const value :
       {&SweepSpeeds::prefill_tokens_per_second, &SweepSpeeds::decode_tokens_per_second,
        &SweepSpeeds::total_seconds}) {
    row +=
        cells(sweep, predicted.*value, measured ? std::optional((*measured).*value) : std::nullopt);
  }
  return row + "  " + point.bound_by->name + "\n";
}

std::string print_sweep_foot(const SweepSeries& series) {
  return text("everything fits from ", print_bytes(series.everything_bytes), " (",
              series.everything_bytes, " bytes) on\n");
}

std::string print_sweep_csv(const Sweep& sweep) {
  std::string out;
  for (const SweepSeries& series : sweep.series) {
    for (const SweepPoint& point : series.points) {
      const Json json = point_json(series, point);
      std::string names;
      std::string line;
      for (const auto& [name, value] : json.items()) {
        const char* comma = names.empty() ? "" : ",";
        names += text(comma, name);
        line += text(comma, csv_cell(value));
      }
      if (out.empty()) out = names + '\n';
      out += line + '\n';
    }
  }
  return out;
}

std::string print_sweep_json(const Sweep& sweep) {
  const Workload& w = sweep.series.front().workload;
  Json json = {{"model", printable(sweep.model)},
               {"device", sweep.device},
               {"units", sweep.units},
               {"prompt_tokens", w.prompt_tokens},
               {"max_tokens", w.max_tokens}};
  if (sweep.link) {
    json["link_bytes_per_second"] = sweep.link->bytes_per_second;
    json["link_latency_seconds"] = sweep.link->latency_seconds;
  }
  json["everything_fits"] = Json::array();
  json["points"] = Json::array();
  for (const SweepSeries& series : sweep.series) {
    json["everything_fits"].push_back({{"sequences", series.workload.sequences},
                                       {"context_tokens", series.workload.context_tokens},
                                       {"weights", weights_json(series)},
                                       {"weights_bytes", series.weights_bytes},
                                       {"vram_bytes", series.everything_bytes}});
    for (const SweepPoint& point : series.points) {
      json["points"].push_back(point_json(series, point));
    }
  }
  return json.dump(2) + "\n";
}

}  // namespace sluice
