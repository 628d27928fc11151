// The stand-in for cuBLAS: products queued on the stand-in's streams, worked out in double.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "layers/cuda/cublas_library.h"
#include "memory/parallel.h"
#include "memory/units.h"
#include "tests/cuda/runtime_state.h"

namespace fake = sluice::fake_cuda;

// The workspace that cuBLAS takes for itself if it isn't given one.
struct cublasContext {
  cudaStream_t stream = nullptr;
  void* workspace = nullptr;
  std::size_t workspace_bytes = 0;
  std::size_t own_bytes = 0;
};

namespace sluice {

namespace {

constexpr std::size_t kOwnWorkspaceBytes = 4_MiB;
constexpr std::size_t kWorkspaceAlignBytes = 256;

// A matrix of `rows` by `columns` before `transposed` is applied; column after column.
struct Operand {
  const void* data;
  cudaDataType type;
  std::size_t rows;
  std::size_t columns;
  std::size_t stride;  // from a column to the next, in elements
  bool transposed;

  // The operand's element after transposing.
  double at(std::size_t row, std::size_t column) const {
    const std::size_t index = transposed ? row * stride + column : column * stride + row;
    switch (type) {
      case CUDA_R_16F:
        return __half2float(static_cast<const __half*>(data)[index]);
      case CUDA_R_16BF:
        return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[index]);
      default:
        return static_cast<const float*>(data)[index];
    }
  }
};

struct Product {
  Operand a;
  Operand b;
  float alpha;
  float beta;
  float* c;
  std::size_t c_stride;
  std::size_t m;
  std::size_t n;
  std::size_t k;
};

std::size_t element_bytes(cudaDataType type) {
  return type == CUDA_R_32F ? 4 : 2;
}

void run(const Product& product) {
  parallel_for(product.n, 1, [&](std::size_t begin, std::size_t end) {
    std::vector<double> b_column(product.k);
    for (std::size_t column = begin; column < end; ++column) {
      for (std::size_t i = 0; i < product.k; ++i) b_column[i] = product.b.at(i, column);
      for (std::size_t row = 0; row < product.m; ++row) {
        double sum = 0.0;
        for (std::size_t i = 0; i < product.k; ++i) sum += product.a.at(row, i) * b_column[i];
        float& c = product.c[column * product.c_stride + row];
        // With a beta of 0 what was there before doesn't count, be it NaN.
        const double before = product.beta == 0.0F ? 0.0 : double{product.beta} * c;
        c = static_cast<float>(double{product.alpha} * sum + before);
      }
    }
  });
}

// Column by column if there is something between them that isn't the matrix's.
std::vector<Touch> touches_of(const void* data, std::size_t bytes_each, std::size_t rows,
                              std::size_t columns, std::size_t stride, bool written) {
  const auto* const begin = static_cast<const std::byte*>(data);
  if (stride == rows || columns <= 1) return {{begin, columns * rows * bytes_each, written}};
  std::vector<Touch> touches;
  for (std::size_t column = 0; column < columns; ++column) {
    touches.push_back({begin + column * stride * bytes_each, rows * bytes_each, written});
  }
  return touches;
}

std::vector<Touch> touches_of(const Operand& operand) {
  return touches_of(operand.data, element_bytes(operand.type), operand.rows, operand.columns,
                    operand.stride, false);
}

cublasStatus_t status_of(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return CUBLAS_STATUS_SUCCESS;
    case cudaErrorMemoryAllocation:
      return CUBLAS_STATUS_ALLOC_FAILED;
    case cudaErrorInvalidValue:
      return CUBLAS_STATUS_INVALID_VALUE;
    case cudaErrorInsufficientDriver:
    case cudaErrorNoDevice:
      return CUBLAS_STATUS_NOT_INITIALIZED;
    default:
      return CUBLAS_STATUS_EXECUTION_FAILED;
  }
}

// Gives back the workspace that cuBLAS took.
void drop_own_workspace(fake::Runtime& runtime, cublasHandle_t handle) {
  runtime.used_bytes -= handle->own_bytes;
  handle->own_bytes = 0;
}

cublasStatus_t create(cublasHandle_t* handle) {
  return status_of(
      fake::call("cublasCreate", fake::Needs::kContext, [&](fake::Runtime& runtime, fake::Lock&) {
        if (handle == nullptr) return cudaErrorInvalidValue;
        *handle = new cublasContext;
        ++runtime.cublas_handles;
        return cudaSuccess;
      }));
}

cublasStatus_t destroy(cublasHandle_t handle) {
  return status_of(
      fake::call("cublasDestroy", fake::Needs::kNothing, [&](fake::Runtime& runtime, fake::Lock&) {
        drop_own_workspace(runtime, handle);
        if (runtime.cublas_handles > 0) --runtime.cublas_handles;
        delete handle;
        return cudaSuccess;
      }));
}

cublasStatus_t set_stream(cublasHandle_t handle, cudaStream_t stream) {
  return status_of(fake::call("cublasSetStream", fake::Needs::kContext,
                              [&](fake::Runtime& runtime, fake::Lock&) {
                                if (runtime.stream(stream) == nullptr) return cudaErrorInvalidValue;
                                handle->stream = stream;
                                handle->workspace = nullptr;  // so does the real one
                                handle->workspace_bytes = 0;
                                return cudaSuccess;
                              }));
}

cublasStatus_t set_workspace(cublasHandle_t handle, void* workspace, std::size_t bytes) {
  return status_of(fake::call("cublasSetWorkspace", fake::Needs::kContext,
                              [&](fake::Runtime& runtime, fake::Lock&) {
                                const auto address = reinterpret_cast<std::uintptr_t>(workspace);
                                if (address % kWorkspaceAlignBytes != 0)
                                  return cudaErrorInvalidValue;
                                if (bytes > 0 && !fake::fault(runtime, workspace, bytes).empty()) {
                                  return cudaErrorInvalidValue;
                                }
                                handle->workspace = workspace;
                                handle->workspace_bytes = bytes;
                                return cudaSuccess;
                              }));
}

cublasStatus_t set_math_mode(cublasHandle_t /*handle*/, cublasMath_t /*mode*/) {
  return CUBLAS_STATUS_SUCCESS;  // products are more precise than any of them
}

bool is_input(cudaDataType type) {
  return type == CUDA_R_16F || type == CUDA_R_16BF || type == CUDA_R_32F;
}

cudaError_t put(fake::Runtime& runtime, cublasHandle_t handle, const Product& product) {
  CUstream_st* const stream = runtime.stream(handle->stream);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (handle->workspace == nullptr && handle->own_bytes == 0) {
    if (!runtime.take(kOwnWorkspaceBytes)) return cudaErrorMemoryAllocation;
    handle->own_bytes = kOwnWorkspaceBytes;
  }
  std::vector<Touch> touches = touches_of(product.a);
  const std::vector<Touch> b = touches_of(product.b);
  touches.insert(touches.end(), b.begin(), b.end());
  const std::vector<Touch> c =
      touches_of(product.c, sizeof(float), product.m, product.n, product.c_stride, true);
  touches.insert(touches.end(), c.begin(), c.end());
  touches.push_back(writes(handle->workspace, handle->workspace_bytes));
  fake::put(runtime, *stream, {"kernel gemm", std::move(touches), [product] { run(product); }});
  return cudaSuccess;
}

cublasStatus_t gemm_ex(cublasHandle_t handle, cublasOperation_t a_operation,
                       cublasOperation_t b_operation, int m, int n, int k, const void* alpha,
                       const void* a, cudaDataType a_type, int a_stride, const void* b,
                       cudaDataType b_type, int b_stride, const void* beta, void* c,
                       cudaDataType c_type, int c_stride, cublasComputeType_t compute_type,
                       cublasGemmAlgo_t /*algorithm*/) {
  const bool known =
      is_input(a_type) && a_type == b_type && c_type == CUDA_R_32F &&
      (compute_type == CUBLAS_COMPUTE_32F || compute_type == CUBLAS_COMPUTE_32F_PEDANTIC) &&
      a_operation <= CUBLAS_OP_T && b_operation <= CUBLAS_OP_T;
  if (!known) return CUBLAS_STATUS_NOT_SUPPORTED;
  const bool a_transposed = a_operation == CUBLAS_OP_T;
  const bool b_transposed = b_operation == CUBLAS_OP_T;
  if (m < 0 || n < 0 || k < 0 || alpha == nullptr || beta == nullptr ||
      a_stride < std::max(1, a_transposed ? k : m) ||
      b_stride < std::max(1, b_transposed ? n : k) || c_stride < std::max(1, m)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (m == 0 || n == 0) return CUBLAS_STATUS_SUCCESS;
  const auto rows = static_cast<std::size_t>(m);
  const auto columns = static_cast<std::size_t>(n);
  const auto depth = static_cast<std::size_t>(k);
  const Product product = {
      {a, a_type, a_transposed ? depth : rows, a_transposed ? rows : depth,
       static_cast<std::size_t>(a_stride), a_transposed},
      {b, b_type, b_transposed ? columns : depth, b_transposed ? depth : columns,
       static_cast<std::size_t>(b_stride), b_transposed},
      *static_cast<const float*>(alpha),
      *static_cast<const float*>(beta),
      static_cast<float*>(c),
      static_cast<std::size_t>(c_stride),
      rows,
      columns,
      depth};
  return status_of(fake::call(
      "cublasGemmEx", fake::Needs::kContext,
      [&](fake::Runtime& runtime, fake::Lock&) { return put(runtime, handle, product); }));
}

const char* status_string(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "success";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "the library was not initialized";
    case CUBLAS_STATUS_ALLOC_FAILED:
      return "the resource allocation failed";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "an unsupported value or parameter was passed to the function";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "the requested functionality is not supported";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "the function failed to launch on the GPU";
    default:
      return "unknown error";
  }
}

}  // namespace

const CublasLibrary& cublas_library() {
  static const CublasLibrary cublas = {create,        destroy, set_stream,   set_workspace,
                                       set_math_mode, gemm_ex, status_string};
  return cublas;
}

}  // namespace sluice
