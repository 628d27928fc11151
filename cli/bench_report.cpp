#include "cli/bench_report.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "cli/format.h"
#include "layers/isa.h"
#include "memory/clock.h"
#include "memory/error.h"
#include "memory/printable.h"
#include "memory/units.h"

namespace sluice {
namespace {

std::string processor_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown processor";
}

std::string print_limits(const MachineRates& r) {
  return text("limits   read ", print_rate(r.read_bytes_per_second), ", copy ",
              print_rate(r.copy_bytes_per_second),
              format("; fp32 %.0f, bf16 %.0f, int8 %.0f billion operations/s\n",
                     r.fp32_per_second * 1e-9, r.bf16_per_second * 1e-9, r.int8_per_second * 1e-9));
}

std::string print_limits(const GpuRates& r) {
  return text("limits   read ", print_rate(r.memory_bytes_per_second), ", link ",
              print_rate(r.to_device.bytes_per_second), " up, ",
              print_rate(r.to_host.bytes_per_second), " down",
              format("; fp32 %.0f, tensor %.0f billion operations/s\n",
                     r.f32_operations_per_second * 1e-9, r.tensor_operations_per_second * 1e-9));
}

nlohmann::ordered_json machine_json(const BenchMachine& machine) {
  nlohmann::ordered_json json = {{"processor", printable(machine.processor)},
                                 {"threads", machine.threads},
                                 {"isa", machine.isa},
                                 {"precision", machine.precision},
                                 {"kv_type", machine.kv_type},
                                 {"load_average", machine.load_average}};
  if (machine.gpu_rates) {
    const GpuRates& r = *machine.gpu_rates;
    json["gpu"] = printable(machine.gpu);
    json["read_bytes_per_second"] = r.memory_bytes_per_second;
    json["to_device_bytes_per_second"] = r.to_device.bytes_per_second;
    json["to_host_bytes_per_second"] = r.to_host.bytes_per_second;
    json["link_latency_seconds"] = r.to_device.latency_seconds;
    json["fp32_operations_per_second"] = r.f32_operations_per_second;
    json["tensor_operations_per_second"] = r.tensor_operations_per_second;
  } else {
    const MachineRates& r = machine.rates;
    json["read_bytes_per_second"] = r.read_bytes_per_second;
    json["copy_bytes_per_second"] = r.copy_bytes_per_second;
    json["fp32_operations_per_second"] = r.fp32_per_second;
    json["bf16_operations_per_second"] = r.bf16_per_second;
    json["int8_operations_per_second"] = r.int8_per_second;
  }
  if (machine.limit_bytes) json["device_limit_bytes"] = *machine.limit_bytes;
  json["device_bytes"] = machine.device_bytes;
  json["streamed_bytes_per_pass"] = machine.streamed_bytes;
  json["host_units"] = machine.host_units;
  return json;
}

}  // namespace

BenchMachine describe_machine() {
  BenchMachine machine;
  machine.processor = processor_name();
  machine.threads = std::max(1U, std::thread::hardware_concurrency());
  machine.isa = isa_name();
  if (getloadavg(&machine.load_average, 1) != 1) machine.load_average = -1.0;
  return machine;
}

std::string print_bench(const BenchMachine& machine, const std::vector<BenchRow>& rows,
                        std::string_view model, std::string_view weights) {
  std::string out =
      text("machine  ", printable(machine.processor), ", ", machine.threads, " threads, ",
           machine.isa, format("; load average before %.2f\n", machine.load_average));
  out += machine.gpu_rates ? print_limits(*machine.gpu_rates) : print_limits(machine.rates);
  if (machine.gpu_rates) {
    out += text("device   ", printable(machine.gpu), "; takes ", print_bytes(machine.device_bytes));
    if (machine.limit_bytes) out += text(" of ", print_bytes(*machine.limit_bytes));
    out += text(", streams ", print_bytes(machine.streamed_bytes), " a pass");
    if (machine.host_units > 0) out += text("; ", machine.host_units, " units are the CPU's");
    out += "\n";
  }
  out += text("model    ", printable(model), ", ", weights, ", ", machine.precision, " precision, ",
              machine.kv_type, " keys and values\n\n");
  out +=
      "         sequences  prompt    tokens/s  (min..max)              limit    by   reached"
      "  overlap\n";
  for (const BenchRow& row : rows) {
    const auto [least, most] = std::minmax_element(row.speeds.begin(), row.speeds.end());
    const double speed = median(row.speeds);
    const std::string spread = format("(%.1f..%.1f)", *least, *most);
    out += format("%-8s %9zu %7zu %11.1f  %-20s %8.1f  %-6.*s %5.1f %%",
                  std::string(row.name).c_str(), row.sequences, row.tokens, speed, spread.c_str(),
                  median(row.limits), static_cast<int>(row.bound_by.size()), row.bound_by.data(),
                  100.0 * median(row.fractions));
    out += row.overlaps.empty() ? "        -\n" : format("  %7.2f\n", median(row.overlaps));
  }
  return out;
}

std::string print_bench_json(const BenchMachine& machine, const std::vector<BenchRow>& rows,
                             std::string_view model, std::string_view weights) {
  nlohmann::ordered_json json;
  json["machine"] = machine_json(machine);
  json["rows"] = nlohmann::ordered_json::array();
  for (const BenchRow& row : rows) {
    const auto [least, most] = std::minmax_element(row.speeds.begin(), row.speeds.end());
    const double speed = median(row.speeds);
    json["rows"].push_back({{"case", row.name},
                            {"model", printable(model)},
                            {"weights", weights},
                            {"tokens", row.tokens},
                            {"sequences", row.sequences},
                            {"tokens_per_second", speed},
                            {"tokens_per_second_min", *least},
                            {"tokens_per_second_max", *most},
                            {"limit_tokens_per_second", median(row.limits)},
                            {"fraction", median(row.fractions)},
                            {"bound_by", row.bound_by}});
    if (!row.overlaps.empty()) json["rows"].back()["overlap"] = median(row.overlaps);
  }
  return json.dump(2) + "\n";
}

}  // namespace sluice
