// Races between CUDA threads are found by the thread sanitizer, with both lines.
#include "memory/parallel.h"

#ifdef SLUICE_TSAN
#include <doctest/doctest.h>

#include <cstdio>
#include <string>
#include <vector>

#include "tests/cuda/emulation.h"
#include "tests/cuda/emulation_orders.h"

namespace sluice {
namespace {

enum class Between { kNothing, kShuffle, kWarpBarrier, kBarrier };

constexpr int kWriteLine = __LINE__ + 4;
// clang-format off
__global__ void exchange_kernel(int* results, Between between) {
  SLUICE_SHARED(int, tile, [64]);
  tile[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (between == Between::kShuffle) results[0] = __shfl_sync(~0u, 1, 0);
  if (between == Between::kWarpBarrier) __syncwarp();
  if (between == Between::kBarrier) __syncthreads();
  results[1 + threadIdx.x] =
      tile[blockDim.x - 1 - threadIdx.x];
}
// clang-format on
constexpr int kReadLine = kWriteLine + 5;

__global__ void one_place_kernel(int* result) {
  *result = 1;
}

// The planted cases end their process with a failure, so they run in one of their own.
std::string report_of(const std::string& planted_case) {
  const std::string command =
      "exec 2>&1; /proc/$PPID/exe --no-skip --test-case='" + planted_case + "'";
  std::string report;
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  char part[4096];
  for (std::size_t got; (got = fread(part, 1, sizeof part, pipe)) > 0;) report.append(part, got);
  pclose(pipe);
  return report;
}

bool has_lines(const std::string& report) {
  const auto has = [&](int line) {
    return report.find("emulation_race_test.cpp:" + std::to_string(line)) != std::string::npos;
  };
  return report.find("data race") != std::string::npos && has(kWriteLine) && has(kReadLine);
}

TEST_CASE("planted: nothing between" * doctest::skip()) {
  std::vector<int> results(65);
  emulation::run_grid("planted", {1, 64}, exchange_kernel, results.data(), Between::kNothing);
}
TEST_CASE("planted: a shuffle between" * doctest::skip()) {
  std::vector<int> results(65);
  emulation::run_grid("planted", {1, 32}, exchange_kernel, results.data(), Between::kShuffle);
}
TEST_CASE("planted: a warp barrier between two warps" * doctest::skip()) {
  std::vector<int> results(65);
  emulation::run_grid("planted", {1, 64}, exchange_kernel, results.data(), Between::kWarpBarrier);
}
TEST_CASE("planted: two blocks" * doctest::skip()) {
  int result = 0;
  emulation::run_grid("planted", {2, 1}, one_place_kernel, &result);
}

TEST_CASE("emulation: races are reported with both lines") {
  CHECK(has_lines(report_of("planted: nothing between")));
  CHECK(has_lines(report_of("planted: a shuffle between")));
  CHECK(has_lines(report_of("planted: a warp barrier between two warps")));
  CHECK(report_of("planted: two blocks").find("data race") != std::string::npos);
}

TEST_CASE("emulation: barriers order what they should") {
  emulation::testing::for_each_order([] {
    std::vector<int> results(65);
    emulation::run_grid("warp", {1, 32}, exchange_kernel, results.data(), Between::kWarpBarrier);
    emulation::run_grid("block", {1, 64}, exchange_kernel, results.data(), Between::kBarrier);
  });
}

}  // namespace
}  // namespace sluice
#endif
