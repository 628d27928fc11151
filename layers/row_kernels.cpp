#include "layers/row_kernels.h"

namespace sluice {

const RowKernels& row_kernels() {
#if defined(__x86_64__)
  static const RowKernels& best =
      __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
              __builtin_cpu_supports("avx512dq") != 0
          ? avx512::kRowKernels
      : __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0
          ? avx2::kRowKernels
          : baseline::kRowKernels;
  return best;
#else
  return baseline::kRowKernels;
#endif
}

}  // namespace sluice
