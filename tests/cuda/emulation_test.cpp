// Kernels that keep CUDA's rules give what plain loops give, in any order of threads.
#include "tests/cuda/emulation.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "tests/cuda/emulation_orders.h"

namespace sluice {
namespace {

using emulation::Order;
using emulation::run_grid;
using emulation::testing::for_each_order;

__device__ int warp_sum(int value) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xFFFFFFFF, value, step);
  return value;
}

__global__ void __launch_bounds__(256)
    sum_kernel(const int* __restrict__ values, int count, int* block_sums) {
  SLUICE_SHARED(int, warp_sums, [8]);
  int sum = 0;
  for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < static_cast<unsigned>(count);
       i += gridDim.x * blockDim.x) {
    sum += __ldg(values + i);
  }
  sum = warp_sum(sum);
  if (threadIdx.x % warpSize == 0) warp_sums[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int warp = 1; warp < 8; ++warp) sum += warp_sums[warp];
    block_sums[blockIdx.x] = sum;
  }
}

TEST_CASE("emulation: a reduction gives the sum") {
  std::vector<int> values(10007);
  std::iota(values.begin(), values.end(), -300);
  for_each_order([&] {
    std::vector<int> sums(9);
    run_grid("sum", {9, 256}, sum_kernel, values.data(), 10007, sums.data());
    CHECK(std::accumulate(sums.begin(), sums.end(), 0) ==
          std::accumulate(values.begin(), values.end(), 0));
  });
}

__global__ void transpose_kernel(const float* from, float* to, unsigned rows, unsigned columns) {
  float* tile = dynamic_shared<float>();  // [32, 33]
  const unsigned row = blockIdx.y * 32;
  const unsigned column = blockIdx.x * 32;
  for (unsigned y = threadIdx.y; y < 32; y += blockDim.y) {
    if (row + y < rows && column + threadIdx.x < columns) {
      tile[y * 33 + threadIdx.x] = from[(row + y) * columns + column + threadIdx.x];
    }
  }
  __syncthreads();
  for (unsigned y = threadIdx.y; y < 32; y += blockDim.y) {
    if (column + y < columns && row + threadIdx.x < rows) {
      to[(column + y) * rows + row + threadIdx.x] = tile[threadIdx.x * 33 + y];
    }
  }
}

TEST_CASE("emulation: a transpose through shared memory puts each element where it belongs") {
  const unsigned rows = 70;
  const unsigned columns = 45;
  std::vector<float> from(rows * columns);
  std::iota(from.begin(), from.end(), 0.0f);
  for_each_order([&] {
    std::vector<float> to(from.size());
    run_grid("transpose", {dim3(2, 3), dim3(32, 8), 32 * 33 * sizeof(float)}, transpose_kernel,
             from.data(), to.data(), rows, columns);
    for (unsigned i = 0; i < rows * columns; ++i) {
      CAPTURE(i);
      REQUIRE(to[i % columns * rows + i / columns] == from[i]);
    }
  });
}

__global__ void scan_kernel(const unsigned long long* values, unsigned long long* sums, int width) {
  unsigned long long sum = values[threadIdx.x];
  for (int step = 1; step < width; step *= 2) {
    const auto before = __shfl_up_sync(~0u, sum, static_cast<unsigned>(step), width);
    if (static_cast<int>(threadIdx.x) % width >= step) sum += before;
  }
  sums[threadIdx.x] = sum;
}

TEST_CASE("emulation: a scan by shuffles gives the running sums of each segment") {
  std::vector<unsigned long long> values(96);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = (i * 7919) << 30;
  for_each_order([&] {
    for (int width = 1; width <= 32; width *= 2) {
      CAPTURE(width);
      std::vector<unsigned long long> sums(values.size());
      run_grid("scan", {1, 96}, scan_kernel, values.data(), sums.data(), width);
      unsigned long long sum = 0;
      for (std::size_t i = 0; i < values.size(); ++i) {
        sum = i % static_cast<std::size_t>(width) == 0 ? values[i] : sum + values[i];
        REQUIRE(sums[i] == sum);
      }
    }
  });
}

// Each row of `results` is what one kind of shuffle gave.
__global__ void shuffle_kernel(int* results) {
  const int lane = static_cast<int>(threadIdx.x);
  results[lane] = __shfl_sync(~0u, lane, 13, 8);
  results[32 + lane] = __shfl_up_sync(~0u, lane, 3, 8);
  results[64 + lane] = __shfl_down_sync(~0u, lane, 3, 8);
  results[96 + lane] = __shfl_xor_sync(~0u, lane, 9, 8);
  const __half2 pair = __floats2half2_rn(static_cast<float>(lane), -1.0f);
  results[128 + lane] = static_cast<int>(__low2float(__shfl_sync(~0u, pair, lane + 1)));
}

TEST_CASE("emulation: shuffles stay in their segment") {
  std::vector<int> results(160);
  run_grid("shuffle", {1, 32}, shuffle_kernel, results.data());
  for (int lane = 0; lane < 32; ++lane) {
    const int first = lane / 8 * 8;
    const auto at = static_cast<std::size_t>(lane);
    CHECK(results[at] == first + 5);
    CHECK(results[32 + at] == (lane % 8 < 3 ? lane : lane - 3));
    CHECK(results[64 + at] == (lane % 8 > 4 ? lane : lane + 3));
    // A lane of an earlier segment may be read, one of a later may not.
    CHECK(results[96 + at] == ((lane ^ 9) < first + 8 ? lane ^ 9 : lane));
    CHECK(results[128 + at] == (lane + 1) % 32);
  }
}

__global__ void vote_kernel(unsigned* results) {
  const unsigned lane = threadIdx.x % 32;
  const unsigned half = lane < 16 ? 0x0000FFFF : 0xFFFF0000;
  results[threadIdx.x] = __ballot_sync(half, lane % 3 == 0);
  results[64 + threadIdx.x] =
      (__any_sync(half, lane == 20) != 0 ? 1u : 0) + (__all_sync(half, lane < 16) != 0 ? 2u : 0);
  const auto index = static_cast<int>(threadIdx.x);
  results[128 + threadIdx.x] = static_cast<unsigned>(__syncthreads_count(index >= 40));
  results[192 + threadIdx.x] = (__syncthreads_or(index == 63) != 0 ? 1u : 0) +
                               (__syncthreads_or(index == 64) != 0 ? 2u : 0) +
                               (__syncthreads_and(index < 64) != 0 ? 4u : 0) +
                               (__syncthreads_and(index < 63) != 0 ? 8u : 0);
}

TEST_CASE("emulation: votes count those who are asked") {
  for_each_order([] {
    std::vector<unsigned> results(256);
    run_grid("vote", {1, 64}, vote_kernel, results.data());
    for (std::size_t i = 0; i < 64; ++i) {
      const bool is_low = i % 32 < 16;
      CHECK(results[i] == (is_low ? 0x9249u : 0x49240000u));
      CHECK(results[64 + i] == (is_low ? 2u : 1u));
      CHECK(results[128 + i] == 24);
      CHECK(results[192 + i] == 5);
    }
  });
}

__global__ void atomic_kernel(unsigned* count, int* least, int* most, unsigned* last_blocks) {
  SLUICE_SHARED(bool, is_last, );
  atomicMin(least, static_cast<int>(blockIdx.x) - 3);
  atomicMax(most, static_cast<int>(threadIdx.x) - 3);
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) is_last = atomicAdd(count, 1) == gridDim.x - 1;
  __syncthreads();
  if (is_last && threadIdx.x == 0) atomicAdd(last_blocks, 1);
}

TEST_CASE("emulation: one block is the last") {
  for_each_order([] {
    unsigned count = 0;
    unsigned last_blocks = 0;
    int least = 0;
    int most = 0;
    run_grid("atomic", {50, 70}, atomic_kernel, &count, &least, &most, &last_blocks);
    CHECK(count == 50);
    CHECK(last_blocks == 1);
    CHECK(least == -3);
    CHECK(most == 66);
  });
}

__global__ void lock_kernel(int* lock, int* sum) {
  while (atomicCAS(lock, 0, 1) != 0) __nanosleep(100);
  __nanosleep(100);
  *sum += 1;
  atomicExch(lock, 0);
}

TEST_CASE("emulation: a thread that sleeps lets others go on") {
  for_each_order([] {
    int lock = 0;
    int sum = 0;
    run_grid("lock", {3, 40}, lock_kernel, &lock, &sum);
    CHECK(sum == 120);
  });
}

__global__ void poison_kernel(float* values) {
  SLUICE_SHARED(float, tile, [4][4]);
  values[0] = tile[3][3];
  values[1] = dynamic_shared<float>()[2];
  tile[3][3] = 0;
  dynamic_shared<float>()[2] = 0;
}

TEST_CASE("emulation: shared memory that nobody wrote is NaN, in every block") {
  std::vector<float> values(2);
  for (int times = 0; times < 3; ++times) {
    run_grid("poison", {1, 1, 12}, poison_kernel, values.data());
    CHECK(std::isnan(values[0]));
    CHECK(std::isnan(values[1]));
  }
}

template <typename T>
__global__ void extent_kernel(T* results) {
  SLUICE_SHARED(T, twice, [64]);
  const unsigned index = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  twice[index] = static_cast<T>(index * 2);
  __syncthreads();
  results[block * 24 + index] = twice[23 - index];
}

TEST_CASE("emulation: every thread of every block runs once, in three dimensions") {
  for_each_order([] {
    std::vector<double> results(24 * 30, -1);
    run_grid("extent", {dim3(5, 3, 2), dim3(4, 3, 2)}, extent_kernel<double>, results.data());
    for (std::size_t i = 0; i < results.size(); ++i) CHECK(results[i] == (23 - i % 24) * 2.0);
  });
}

}  // namespace
}  // namespace sluice
