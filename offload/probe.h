// Measures this machine's rates.
#pragma once

#include "offload/hardware.h"

namespace sluice {

// Measures what `model` needs of this machine's CPU in about 20 ms, on synthetic weights. A link
// without a speed is measured as a memory copy.
Hardware probe_host(const ModelLayout& model, Precision precision, LinkSpeed link);

}  // namespace sluice
