// The least time that work can take on a machine, whatever runs it: counts, no measuring.
#pragma once

#include <cstddef>
#include <string_view>

#include "layers/gpu.h"
#include "layers/machine_rates.h"
#include "layers/weights.h"
#include "memory/link.h"
#include "offload/plan.h"

namespace sluice {

// Passes over some sequences.
struct PassWork {
  std::size_t passes;
  std::size_t sequences;
  std::size_t tokens;     // of each sequence, in all passes together
  std::size_t first_key;  // keys of each sequence that were there before
  std::size_t logits;     // rows of them, in all passes together
};

struct Bound {
  double seconds;
  std::string_view by;  // "read", "int8", "bf16", "fp32", "tensor" or "link"
};

// The longest of: reading weights and cached keys and values, multiplying and adding, and copying
// what is streamed.
Bound bound_of(const ModelLayout& model, const Plan& plan, const MachineRates& rates,
               const LinkSpeed& link, const PassWork& work);
// The same on a GPU: its own memory is read, and the link to it copied over.
Bound bound_of(const ModelLayout& model, const Plan& plan, const GpuRates& rates,
               const PassWork& work);

}  // namespace sluice
