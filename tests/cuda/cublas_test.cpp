// The stand-in for cuBLAS against plain loops, and what it is checked for.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include "layers/cuda/cublas_library.h"
#include "memory/units.h"
#include "tests/cuda/handles.h"

namespace sluice::fake_cuda {
namespace {

class TestCublas {
 public:
  explicit TestCublas(cudaStream_t stream) {
    REQUIRE(cublas_library().create(&handle_) == CUBLAS_STATUS_SUCCESS);
    REQUIRE(cublas_library().set_stream(handle_, stream) == CUBLAS_STATUS_SUCCESS);
  }
  ~TestCublas() { (void)cublas_library().destroy(handle_); }
  TestCublas(const TestCublas&) = delete;
  TestCublas& operator=(const TestCublas&) = delete;
  operator cublasHandle_t() const { return handle_; }

 private:
  cublasHandle_t handle_ = nullptr;
};

constexpr int kRows = 5;
constexpr int kColumns = 7;
constexpr int kDepth = 11;
constexpr int kStride = 13;  // of all three
constexpr std::size_t kElements = std::size_t{kStride} * kStride;

// Sixteenths between -1 and 1, which every type has.
float value(std::size_t index, std::size_t salt) {
  const std::size_t mixed = (index * 2654435761U + salt * 40503U) >> 7;
  return static_cast<float>(mixed % 33) / 16.0F - 1.0F;
}

void store(void* data, cudaDataType type, std::size_t index, float number) {
  switch (type) {
    case CUDA_R_16F:
      static_cast<__half*>(data)[index] = __float2half(number);
      break;
    case CUDA_R_16BF:
      static_cast<__nv_bfloat16*>(data)[index] = __float2bfloat16(number);
      break;
    default:
      static_cast<float*>(data)[index] = number;
  }
}

struct Sizes {
  int m = kRows;
  int n = kColumns;
  int k = kDepth;
};

cublasStatus_t multiply(cublasHandle_t handle, const TestArray<float>& a, const TestArray<float>& b,
                        const TestArray<float>& c, const Sizes& sizes = {},
                        cudaDataType type = CUDA_R_32F, cublasOperation_t a_operation = CUBLAS_OP_N,
                        cublasOperation_t b_operation = CUBLAS_OP_N, float alpha = 1.0F,
                        float beta = 0.0F) {
  return cublas_library().gemm_ex(handle, a_operation, b_operation, sizes.m, sizes.n, sizes.k,
                                  &alpha, a.data(), type, kStride, b.data(), type, kStride, &beta,
                                  c.data(), CUDA_R_32F, kStride, CUBLAS_COMPUTE_32F,
                                  CUBLAS_GEMM_DEFAULT);
}

TEST_CASE("cublas stand-in: every type, operation and scale agrees with plain loops") {
  for (const cudaDataType type : {CUDA_R_32F, CUDA_R_16F, CUDA_R_16BF}) {
    for (const auto a_operation : {CUBLAS_OP_N, CUBLAS_OP_T}) {
      for (const auto b_operation : {CUBLAS_OP_N, CUBLAS_OP_T}) {
        for (const float beta : {0.0F, 0.5F}) {
          CAPTURE(static_cast<int>(type));
          CAPTURE(static_cast<int>(a_operation));
          CAPTURE(static_cast<int>(b_operation));
          CAPTURE(beta);
          reset();
          const TestStream stream;
          const TestCublas cublas(stream);
          const TestArray<float> a(Where::kDevice, kElements);
          const TestArray<float> b(Where::kDevice, kElements);
          const TestArray<float> c(Where::kDevice, kElements);
          for (std::size_t i = 0; i < kElements; ++i) {
            store(a.data(), type, i, value(i, 1));
            store(b.data(), type, i, value(i, 2));
            c.data()[i] = beta == 0.0F ? std::numeric_limits<float>::quiet_NaN() : value(i, 3);
          }
          REQUIRE(multiply(cublas, a, b, c, {}, type, a_operation, b_operation, 2.0F, beta) ==
                  CUBLAS_STATUS_SUCCESS);
          CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
          for (int row = 0; row < kRows; ++row) {
            for (int column = 0; column < kColumns; ++column) {
              float expected = beta == 0.0F ? 0.0F : beta * value(column * kStride + row, 3);
              for (int i = 0; i < kDepth; ++i) {
                const bool a_is_plain = a_operation == CUBLAS_OP_N;
                const bool b_is_plain = b_operation == CUBLAS_OP_N;
                expected += 2.0F * value(a_is_plain ? i * kStride + row : row * kStride + i, 1) *
                            value(b_is_plain ? column * kStride + i : i * kStride + column, 2);
              }
              CAPTURE(row);
              CAPTURE(column);
              CHECK(c.data()[column * kStride + row] == expected);  // exact: small fractions
            }
          }
          check_silent();
        }
      }
    }
  }
}

TEST_CASE("cublas stand-in: what it can't do, or is given wrongly, is a status") {
  reset();
  const TestStream stream;
  const TestCublas cublas(stream);
  const TestArray<float> a(Where::kDevice, kElements);
  CHECK(multiply(cublas, a, a, a, {kStride + 1, 1, 1}) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(multiply(cublas, a, a, a, {-1, 1, 1}) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(multiply(cublas, a, a, a, {}, CUDA_R_64F) == CUBLAS_STATUS_NOT_SUPPORTED);
  CHECK(multiply(cublas, a, a, a, {}, CUDA_R_32F, CUBLAS_OP_C) == CUBLAS_STATUS_NOT_SUPPORTED);
  CHECK(cublas_library().set_workspace(cublas, a.data() + 1, 64) == CUBLAS_STATUS_INVALID_VALUE);
  fail_call("cublasGemmEx", cudaErrorMemoryAllocation);
  CHECK(multiply(cublas, a, a, a) == CUBLAS_STATUS_ALLOC_FAILED);
  check_silent();
  CHECK(std::string_view(cublas_library().status_string(CUBLAS_STATUS_ALLOC_FAILED)) ==
        "the resource allocation failed");
}

TEST_CASE("cublas stand-in: matrices that end beyond their memory are complained of") {
  reset();
  const TestStream stream;
  const TestCublas cublas(stream);
  const TestArray<float> a(Where::kDevice, kElements);
  const TestArray<float> small(Where::kDevice, kElements / 4);
  CHECK(multiply(cublas, a, a, small) == CUBLAS_STATUS_SUCCESS);
  check_complaint({"kernel gemm on stream 1 writes", "of device allocation 2", "beyond its end"});
}

TEST_CASE("cublas stand-in: rows between those of a product are another stream's to write") {
  reset();
  const TestStream stream;
  const TestStream other;
  const TestCublas cublas(stream);
  const TestArray<float> a(Where::kDevice, kElements);
  const TestArray<float> b(Where::kDevice, kElements);
  const TestArray<float> c(Where::kDevice, kElements);
  CHECK(multiply(cublas, a, b, c) == CUBLAS_STATUS_SUCCESS);
  touching_kernel(other, "below", {writes(c.data() + kRows, (kStride - kRows) * sizeof(float))});
  check_silent();
  touching_kernel(other, "across", {writes(c.data() + kStride - 1, 2 * sizeof(float))});
  check_complaint({"kernel across on stream 2 writes bytes 52..56", "kernel gemm on stream 1"});
}

TEST_CASE("cublas stand-in: two streams must not share a workspace") {
  for (const bool shared : {false, true}) {
    CAPTURE(shared);
    reset();
    const TestStream first;
    const TestStream second;
    const TestArray<float> a(Where::kDevice, kElements);
    const TestArray<float> c(Where::kDevice, kElements);
    const TestArray<float> d(Where::kDevice, kElements);
    const TestArray<std::byte> workspaces(Where::kDevice, 128_KiB);
    const TestCublas one(first);
    const TestCublas two(second);
    const auto set = cublas_library().set_workspace;
    CHECK(set(one, workspaces.data(), 64_KiB) == CUBLAS_STATUS_SUCCESS);
    CHECK(set(two, workspaces.data() + (shared ? 0_KiB : 64_KiB), 64_KiB) == CUBLAS_STATUS_SUCCESS);
    CHECK(multiply(one, a, a, c) == CUBLAS_STATUS_SUCCESS);
    CHECK(multiply(two, a, a, d) == CUBLAS_STATUS_SUCCESS);
    if (shared) {
      check_complaint({"kernel gemm on stream 2 writes bytes 0..65536 of device allocation 4",
                       "kernel gemm on stream 1 may still be writing"});
    } else {
      check_silent();
    }
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
  }
}

TEST_CASE("cublas stand-in: it takes device memory of its own unless it is given a workspace") {
  reset();
  const TestStream stream;
  const TestArray<float> a(Where::kDevice, kElements);
  const TestArray<float> c(Where::kDevice, kElements);
  const TestArray<std::byte> workspace(Where::kDevice, 64_KiB);
  const std::size_t before_bytes = used_bytes();
  {
    const TestCublas cublas(stream);
    const auto set = cublas_library().set_workspace;
    CHECK(set(cublas, workspace.data(), workspace.bytes()) == CUBLAS_STATUS_SUCCESS);
    CHECK(multiply(cublas, a, a, c) == CUBLAS_STATUS_SUCCESS);
    CHECK(used_bytes() == before_bytes);
    CHECK(cublas_library().set_stream(cublas, stream) == CUBLAS_STATUS_SUCCESS);  // takes it away
    CHECK(multiply(cublas, a, a, c) == CUBLAS_STATUS_SUCCESS);
    CHECK(used_bytes() > before_bytes);
  }
  CHECK(used_bytes() == before_bytes);
  check_silent();
}

}  // namespace
}  // namespace sluice::fake_cuda
