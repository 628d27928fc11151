// What a bench measured, and how it is told.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "layers/gpu.h"
#include "layers/machine_rates.h"
#include "offload/bound.h"

namespace sluice {

struct BenchMachine {
  std::string processor;
  std::size_t threads = 0;
  std::string_view isa;
  std::string_view precision;  // of activations
  std::string_view kv_type;    // of keys and values
  double load_average = 0.0;   // of the minute before: what else ran
  MachineRates rates;          // medians; of the CPU, where it computes
  std::string gpu;             // its name; empty: the CPU computes
  std::optional<GpuRates> gpu_rates{};
  std::optional<std::size_t> limit_bytes{};  // of the device's memory
  std::size_t device_bytes = 0;              // of it that the plan takes
  std::size_t streamed_bytes = 0;            // of weights, a pass of one token
  std::size_t host_units = 0;                // that the host computes in small passes
};

struct BenchRow {
  std::string_view name;  // "prefill", "decode" or "batch"
  std::size_t sequences = 1;
  std::size_t tokens = 0;           // of each sequence's prompt
  std::vector<double> speeds{};     // tokens/s of all sequences, one a round
  std::vector<double> limits{};     // tokens/s that the machine allowed just before
  std::vector<double> fractions{};  // of those limits
  std::string_view bound_by;
  std::vector<double> overlaps{};  // time over the longer of copying and computing, if it streams
};

BenchMachine describe_machine();

std::string print_bench(const BenchMachine& machine, const std::vector<BenchRow>& rows,
                        std::string_view model, std::string_view weights);
std::string print_bench_json(const BenchMachine& machine, const std::vector<BenchRow>& rows,
                             std::string_view model, std::string_view weights);

}  // namespace sluice
