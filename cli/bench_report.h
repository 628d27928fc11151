// What a bench measured, and how it is told.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "layers/machine_rates.h"
#include "offload/bound.h"

namespace sluice {

struct BenchMachine {
  std::string processor;
  std::size_t threads = 0;
  std::string_view isa;
  std::string_view precision;  // of activations
  double load_average = 0.0;   // of the minute before: what else ran
  MachineRates rates;          // medians
};

struct BenchRow {
  std::string_view name;  // "prefill", "decode" or "batch"
  std::size_t sequences = 1;
  std::size_t tokens = 0;           // of each sequence's prompt
  std::vector<double> speeds{};     // tokens/s of all sequences, one a round
  std::vector<double> limits{};     // tokens/s that the machine allowed just before
  std::vector<double> fractions{};  // of those limits
  std::string_view bound_by;
};

BenchMachine describe_machine();
double median(std::vector<double> values);

std::string print_bench(const BenchMachine& machine, const std::vector<BenchRow>& rows,
                        std::string_view model, std::string_view weights);
std::string print_bench_json(const BenchMachine& machine, const std::vector<BenchRow>& rows,
                             std::string_view model, std::string_view weights);

}  // namespace sluice
