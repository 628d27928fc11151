// What a call of the CUDA runtime answered, as an Error.
#pragma once

#include <driver_types.h>

#include <string_view>

namespace sluice {

// Throws Error{kDevice} naming `what` (the call, or what it was for) and the runtime's own words,
// unless the answer is cudaSuccess.
void check_cuda(cudaError_t answer, std::string_view what);

}  // namespace sluice
