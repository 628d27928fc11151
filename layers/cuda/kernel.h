// What every CUDA source of kernels includes: CUDA, or the tests' emulation of it on the CPU.
//
// Kernels keep to what both understand: shared memory is declared by SLUICE_SHARED, launched is by
// launch(), and every launch says which memory its kernel touches.
#pragma once

#include "layers/cuda/touch.h"

#ifdef SLUICE_CUDA_EMULATION
#include SLUICE_CUDA_EMULATION
#else

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <span>

#include "layers/cuda/mma.h"
#include "memory/cuda/check.h"

// SLUICE_SHARED(float, tile, [32][33]);
#define SLUICE_SHARED(type, name, extents) __shared__ type name extents

namespace sluice {

// The launch's dynamic shared memory.
template <typename T>
__device__ T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char sluice_dynamic_shared[];
  return reinterpret_cast<T*>(sluice_dynamic_shared);
}

struct LaunchShape {
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;  // dynamic; 48 KiB at most
};

// Throws Error{kDevice} naming the kernel if the launch is refused.
template <typename... Parameters, typename... Arguments>
void launch(const char* name, cudaStream_t stream, const LaunchShape& shape,
            std::span<const Touch> /*touches*/, void (*kernel)(Parameters...),
            const Arguments&... arguments) {
  // clang-format off
  kernel<<<shape.grid, shape.block, shape.shared_bytes, stream>>>(arguments...);
  // clang-format on
  check_cuda(cudaPeekAtLastError(), name);
}

}  // namespace sluice

#endif
