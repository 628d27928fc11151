// layers/gpu.h in a build without CUDA.
#include "layers/gpu.h"
#include "memory/error.h"

namespace sluice {

bool built_with_gpu() {
  return false;
}

std::unique_ptr<Gpu> open_gpu(int) {
  throw Error(ErrorKind::kUsage,
              "--device cuda: this sluice was built without CUDA; use sim or cpu, or build it where"
              " nvcc is on the path");
}

}  // namespace sluice
