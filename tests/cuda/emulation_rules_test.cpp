// Kernels that break CUDA's rules are found out.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "memory/parallel.h"
#include "tests/cuda/emulation.h"
#include "tests/cuda/emulation_orders.h"

#if defined(__SANITIZE_ADDRESS__)
#define SLUICE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLUICE_ASAN 1
#endif
#endif

namespace sluice {
namespace {

using emulation::Order;
using emulation::run_grid;

// The one line that the grid must leave behind. Any order of threads may find it.
template <typename... Parameters, typename... Arguments>
std::string violation_of(const LaunchShape& shape, void (*kernel)(Parameters...),
                         const Arguments&... arguments) {
  emulation::clear_violations();
  run_grid("culprit", shape, kernel, arguments...);
  const auto found = emulation::violations();
  emulation::clear_violations();
  REQUIRE(found.size() == 1);
  return found.front();
}

bool has_all(const std::string& line, std::initializer_list<std::string> parts) {
  for (const std::string& part : parts) {
    if (line.find(part) == std::string::npos) return false;
  }
  return true;
}

std::string at(int line) {
  return "tests/cuda/emulation_rules_test.cpp:" + std::to_string(line);
}

constexpr int kDivergentLine = __LINE__ + 5;
__global__ void divergent_barrier_kernel() {
  // clang-format off
  if (threadIdx.x != 5) {
    __syncthreads();
    __syncthreads();
  } else {
    __syncthreads();
  }
  // clang-format on
}

TEST_CASE("emulation: threads of a block at different barriers are a violation") {
  const std::string line = violation_of({3, 64}, divergent_barrier_kernel);
  CHECK(has_all(line, {"culprit: block (", "thread (5,0,0)", at(kDivergentLine - 1),
                       at(kDivergentLine + 2)}));
}

__global__ void early_return_kernel(unsigned leaves) {
  if (threadIdx.x == leaves) return;
  __syncthreads();
}

TEST_CASE("emulation: a thread that exits while others wait at a barrier is a violation") {
  for (const unsigned leaves : {0u, 17u, 63u}) {
    const std::string line = violation_of({1, 64}, early_return_kernel, leaves);
    CHECK(has_all(line, {"culprit: block (0,0,0): thread (", "__syncthreads", "has exited",
                         "thread (" + std::to_string(leaves) + ",0,0)", "rules_test.cpp:"}));
  }
}

__global__ void exited_lane_kernel(unsigned leaves, int* result) {
  if (threadIdx.x == leaves) return;
  result[threadIdx.x] = __shfl_xor_sync(0xFFFFFFFF, 1, 1);
}

TEST_CASE("emulation: an exited lane in a mask is a violation") {
  std::vector<int> result(32);
  for (const unsigned leaves : {0u, 31u}) {
    const std::string line = violation_of({1, 32}, exited_lane_kernel, leaves, result.data());
    CHECK(has_all(line, {"exited", "__shfl_xor_sync at tests/cuda"}));
  }
}

__global__ void absent_lane_kernel() {
  __syncwarp();
}

TEST_CASE("emulation: a lane in a mask that the block lacks is a violation") {
  CHECK(has_all(violation_of({1, 40}, absent_lane_kernel), {"thread (3", "names lane 8"}));
}

__global__ void different_masks_kernel() {
  __syncwarp(threadIdx.x < 4 ? 0xFFu : 0xF8u);
}

TEST_CASE("emulation: lanes that name different masks are a violation") {
  CHECK(has_all(violation_of({1, 8}, different_masks_kernel),
                {"__syncwarp at tests/cuda", "mask 0xf8", "mask 0xff", "while thread ("}));
}

__global__ void different_calls_kernel(int* result) {
  if (threadIdx.x % 2 == 0) {
    __syncwarp();
  } else {
    result[0] = __any_sync(~0u, 1);
  }
}

TEST_CASE("emulation: lanes in different calls are a violation") {
  int result = 0;
  CHECK(has_all(violation_of({1, 32}, different_calls_kernel, &result),
                {"__syncwarp at", "__any_sync at"}));
}

__global__ void own_lane_kernel() {
  __syncwarp(0xFFFFFFF7);
}

TEST_CASE("emulation: a mask without the lane itself is a violation") {
  CHECK(has_all(violation_of({1, 32}, own_lane_kernel), {"thread (3,0,0)", "its own lane 3"}));
}

__global__ void outside_mask_kernel(int* result) {
  if (threadIdx.x < 4) result[threadIdx.x] = __shfl_sync(0xF, 1, 9);
}

TEST_CASE("emulation: reading a lane outside the mask is a violation") {
  std::vector<int> result(4);
  CHECK(has_all(violation_of({1, 32}, outside_mask_kernel, result.data()),
                {"to read lane 9", "0xf"}));
}

__global__ void width_kernel(int* result) {
  *result = __shfl_xor_sync(~0u, 1, 1, 12);
}

TEST_CASE("emulation: a segment's width that is no power of two is a violation") {
  int result = 0;
  CHECK(has_all(violation_of({1, 32}, width_kernel, &result), {"width 12"}));
}

__global__ void deadlock_kernel() {
  if (threadIdx.x == 0) {
    __syncthreads();
  } else {
    __syncwarp();
  }
}

TEST_CASE("emulation: a block in which nobody can go on is a violation") {
  CHECK(has_all(violation_of({1, 32}, deadlock_kernel),
                {"nobody can go on", "__syncthreads at", "__syncwarp at"}));
}

__global__ void trap_kernel() {
  if (threadIdx.x == 7) __trap();
  __syncthreads();
}

TEST_CASE("emulation: a trap ends the grid") {
  CHECK(has_all(violation_of({100, 32}, trap_kernel), {"thread (7,0,0)", "__trap"}));
}

__global__ void large_kernel() {
  SLUICE_SHARED(float, large, [100][120]);
  large[threadIdx.x][0] = 0;
}

TEST_CASE("emulation: more than 48 KiB of shared memory, both kinds together, are a violation") {
  CHECK(has_all(violation_of({1, 32, 1160}, large_kernel), {"declares large", "49152 bytes"}));
  emulation::clear_violations();
  run_grid("fits", {1, 32, 1152}, large_kernel);
  CHECK(emulation::violations().empty());
}

__global__ void nothing_kernel() {}

TEST_CASE("emulation: a grid that the hardware would refuse is a violation") {
  CHECK(has_all(violation_of({1, 1025}, nothing_kernel), {"1024"}));
  CHECK(has_all(violation_of({1, dim3(32, 33)}, nothing_kernel), {"1024"}));
  CHECK(has_all(violation_of({dim3(1, 65536), 1}, nothing_kernel), {"65535"}));
  CHECK(has_all(violation_of({dim3(1, 1, 65536), 1}, nothing_kernel), {"65535"}));
  CHECK(has_all(violation_of({0, 32}, nothing_kernel), {"without threads"}));
  CHECK(has_all(violation_of({1, dim3(32, 0)}, nothing_kernel), {"without threads"}));
  CHECK(has_all(violation_of({1, 32, 49153}, nothing_kernel), {"49153"}));
}

#ifndef SLUICE_TSAN  // the thread sanitizer sees the race itself: emulation_race_test.cpp
__global__ void missing_barrier_kernel(int* values) {
  SLUICE_SHARED(int, shared, [64]);
  const unsigned i = threadIdx.x;
  shared[i] = values[i];
  if (values[64] != 0) __syncthreads();
  values[i] = shared[63 - i];
}

TEST_CASE("emulation: a missing barrier changes results with the order of threads") {
  const auto result = [](Order order, int has_barrier) {
    std::vector<int> values(65);
    for (int i = 0; i < 64; ++i) values[static_cast<std::size_t>(i)] = i * i;
    values[64] = has_barrier;
    emulation::set_order(order, 3);
    run_grid("missing barrier", {1, 64}, missing_barrier_kernel, values.data());
    emulation::reset_order();
    return values;
  };
  CHECK(result(Order::kForward, 0) != result(Order::kReverse, 0));
  CHECK(result(Order::kForward, 0) != result(Order::kRandom, 0));
  CHECK(result(Order::kForward, 1) == result(Order::kReverse, 1));
  CHECK(result(Order::kForward, 1) == result(Order::kRandom, 1));
}
#endif

__global__ void overrun_kernel(int index) {
  SLUICE_SHARED(int, first, [4]);
  SLUICE_SHARED(int, second, [4]);
  int* cells = index < 0 ? second : first;  // so that no compiler sees it coming
  cells[index] = 0;
}

#ifdef SLUICE_ASAN
TEST_CASE("emulation: the address sanitizer watches the bounds of shared memory") {
  const auto survives = [](int index) {
    const pid_t child = fork();
    if (child == 0) {
      close(STDERR_FILENO);
      run_grid("overrun", {1, 1}, overrun_kernel, index);
      _exit(0);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  };
  CHECK(survives(3));
  CHECK(!survives(4));
  CHECK(!survives(-1));
}
#else
TEST_CASE("emulation: a write beside an object of shared memory is a violation") {
  CHECK(has_all(violation_of({1, 1}, overrun_kernel, 4), {"behind the end of first"}));
  CHECK(has_all(violation_of({1, 1}, overrun_kernel, -1), {"before the begin of second"}));
  emulation::clear_violations();
  run_grid("inside", {1, 1}, overrun_kernel, 3);
  CHECK(emulation::violations().empty());
}
#endif

__global__ void endless_kernel(int* flag) {
  if (threadIdx.x == 0) {
    while (atomicAdd(flag, 0) == 0) __nanosleep(100);
  }
  __syncthreads();
}

TEST_CASE("emulation: to wait for what never comes is a violation" * doctest::test_suite("slow")) {
  int flag = 0;
  CHECK(
      has_all(violation_of({1, 32}, endless_kernel, &flag), {"thread (0,0,0)", "__nanosleep at"}));
}

// After all that was abandoned above.
__global__ void count_kernel(int* count) {
  __syncthreads();
  atomicAdd(count, 1);
}

TEST_CASE("emulation: after a violation the next grid runs whole") {
  emulation::clear_violations();
  int count = 0;
  run_grid("trap", {1, 1024}, trap_kernel);
  emulation::clear_violations();
  run_grid("count", {4, 1024}, count_kernel, &count);
  CHECK(count == 4096);
  CHECK(emulation::violations().empty());
}

__global__ void twice_kernel(int* values) {
  SLUICE_SHARED(int, tile, [128]);
  tile[threadIdx.x] = values[blockIdx.x * 128 + threadIdx.x];
  __syncthreads();
  values[blockIdx.x * 128 + threadIdx.x] = tile[127 - threadIdx.x] * 2;
}

TEST_CASE("emulation: grids of several host threads keep out of each other's way") {
  emulation::clear_violations();
  std::vector<std::thread> threads;
  std::vector<std::vector<int>> values(4, std::vector<int>(128 * 20, 1));
  for (auto& own : values) {
    threads.emplace_back([&own] {
      for (int times = 0; times < 10; ++times) {
        run_grid("twice", {20, 128}, twice_kernel, own.data());
        run_grid("trap", {20, 64}, trap_kernel);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(emulation::violations().size() == 40);
  emulation::clear_violations();
  for (const auto& own : values) CHECK(own == std::vector<int>(128 * 20, 1024));
}

}  // namespace
}  // namespace sluice
