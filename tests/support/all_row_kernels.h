// The row kernels of every instruction set that this machine runs.
#pragma once

#include <string_view>
#include <vector>

#include "layers/isa.h"
#include "layers/row_kernels.h"

namespace sluice::testing {

// The best first.
inline std::vector<const RowKernels*> all_row_kernels() {
  std::vector<const RowKernels*> all;
  for (const std::string_view name : isa_names()) {
    force_isa(name);
    if (all.empty() || all.back() != &row_kernels()) all.push_back(&row_kernels());
  }
  force_isa(isa_names()[0]);
  return all;
}

}  // namespace sluice::testing
