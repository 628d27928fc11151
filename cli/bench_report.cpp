#include "cli/bench_report.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "cli/format.h"
#include "layers/isa.h"
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

}  // namespace

BenchMachine describe_machine() {
  BenchMachine machine;
  machine.processor = processor_name();
  machine.threads = std::max(1U, std::thread::hardware_concurrency());
  machine.isa = isa_name();
  if (getloadavg(&machine.load_average, 1) != 1) machine.load_average = -1.0;
  return machine;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : 0.5 * (values[middle - 1] + values[middle]);
}

std::string print_bench(const BenchMachine& machine, const std::vector<BenchRow>& rows,
                        std::string_view model, std::string_view weights) {
  const MachineRates& r = machine.rates;
  std::string out =
      text("machine  ", printable(machine.processor), ", ", machine.threads, " threads, ",
           machine.isa, format("; load average before %.2f\n", machine.load_average));
  out += text("limits   read ", print_rate(r.read_bytes_per_second), ", copy ",
              print_rate(r.copy_bytes_per_second),
              format("; fp32 %.0f, bf16 %.0f, int8 %.0f billion operations/s\n",
                     r.fp32_per_second * 1e-9, r.bf16_per_second * 1e-9, r.int8_per_second * 1e-9));
  out +=
      text("model    ", printable(model), ", ", weights, ", ", machine.precision, " precision\n\n");
  out += "         sequences  prompt    tokens/s  (min..max)              limit    by   reached\n";
  for (const BenchRow& row : rows) {
    const auto [least, most] = std::minmax_element(row.speeds.begin(), row.speeds.end());
    const double speed = median(row.speeds);
    const std::string spread = format("(%.1f..%.1f)", *least, *most);
    out += format("%-8s %9zu %7zu %11.1f  %-20s %8.1f  %-5.*s %5.1f %%\n",
                  std::string(row.name).c_str(), row.sequences, row.tokens, speed, spread.c_str(),
                  median(row.limits), static_cast<int>(row.bound_by.size()), row.bound_by.data(),
                  100.0 * median(row.fractions));
  }
  return out;
}

std::string print_bench_json(const BenchMachine& machine, const std::vector<BenchRow>& rows,
                             std::string_view model, std::string_view weights) {
  const MachineRates& r = machine.rates;
  nlohmann::ordered_json json;
  json["machine"] = {{"processor", printable(machine.processor)},
                     {"threads", machine.threads},
                     {"isa", machine.isa},
                     {"precision", machine.precision},
                     {"load_average", machine.load_average},
                     {"read_bytes_per_second", r.read_bytes_per_second},
                     {"copy_bytes_per_second", r.copy_bytes_per_second},
                     {"fp32_operations_per_second", r.fp32_per_second},
                     {"bf16_operations_per_second", r.bf16_per_second},
                     {"int8_operations_per_second", r.int8_per_second}};
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
  }
  return json.dump(2) + "\n";
}

}  // namespace sluice
