#include "memory/cuda/check.h"

#include <cuda_runtime_api.h>

#include "memory/error.h"

namespace sluice {

void check_cuda(cudaError_t answer, std::string_view what) {
  if (answer == cudaSuccess) return;
  throw Error(ErrorKind::kDevice,
              text(what, ": ", cudaGetErrorString(answer), " (", cudaGetErrorName(answer), ")"));
}

}  // namespace sluice
