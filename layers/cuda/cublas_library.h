// The few calls of cuBLAS that Sluice uses, found at run time: a machine without a GPU needn't
// have the library, which is large.
#pragma once

#include <cublas_v2.h>

#include "memory/error.h"

namespace sluice {

struct CublasLibrary {
  decltype(&cublasCreate_v2) create;
  decltype(&cublasDestroy_v2) destroy;
  decltype(&cublasSetStream_v2) set_stream;  // also takes away the workspace
  decltype(&cublasSetWorkspace_v2) set_workspace;
  decltype(&cublasSetMathMode) set_math_mode;
  // cublasGemmEx, which the header overloads.
  cublasStatus_t (*gemm_ex)(cublasHandle_t handle, cublasOperation_t a_operation,
                            cublasOperation_t b_operation, int m, int n, int k, const void* alpha,
                            const void* a, cudaDataType a_type, int a_stride, const void* b,
                            cudaDataType b_type, int b_stride, const void* beta, void* c,
                            cudaDataType c_type, int c_stride, cublasComputeType_t compute_type,
                            cublasGemmAlgo_t algorithm);
  decltype(&cublasGetStatusString) status_string;
};

// Opens the libcublas of the toolkit's major version that Sluice was built with, or else another
// that it knows. Loaded once; never unloaded. Throws Error{kDevice} naming what was looked for and
// how to get it.
const CublasLibrary& cublas_library();

// Throws Error{kDevice} saying what was being done and what cuBLAS says to it.
inline void check_cublas(cublasStatus_t status, const char* doing) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(ErrorKind::kDevice,
              text(doing, ": cuBLAS says ", cublas_library().status_string(status)));
}

}  // namespace sluice
