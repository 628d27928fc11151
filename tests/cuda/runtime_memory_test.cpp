// Memory that is gone, that isn't what it should be or that is left behind is complained of.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>

#include "memory/units.h"
#include "tests/cuda/handles.h"

namespace sluice::fake_cuda {
namespace {

constexpr std::size_t kInts = 1024;
using Ints = TestArray<int>;

TEST_CASE("cuda stand-in: freed memory, foreign memory and what is beyond an end are known") {
  reset();
  const TestStream stream;
  Ints device(Where::kDevice, kInts);
  int* const data = device.data();
  bool run = false;
  const auto kernel = [&](const char* name, const Touch& touch) {
    enqueue_kernel(
        stream, name, [&run] { run = true; }, std::array{touch});
  };
  kernel("beyond", writes(data + kInts - 1, 8));
  device.free();
  kernel("late", reads(data, 16));
  std::array<int, 4> local = {};
  kernel("foreign", reads(local.data(), sizeof(local)));
  CHECK(cudaMemsetAsync(data, 0, 4, stream) == cudaErrorInvalidValue);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  CHECK_FALSE(run);
  const std::vector<std::string> lines = complaints();
  REQUIRE(lines.size() == 4);
  CHECK(lines[0] ==
        "kernel beyond on stream 1 writes bytes 4092..4100 of device allocation 1 (4.00 KiB), "
        "beyond its end");
  CHECK(lines[1] ==
        "kernel late on stream 1 reads bytes 0..16 of device allocation 1 (4.00 KiB) after it was "
        "freed");
  CHECK(lines[2] == "kernel foreign on stream 1 reads 16 bytes outside of any allocation");
  CHECK(lines[3].starts_with("memset on stream 1 writes bytes 0..4"));
}

TEST_CASE("cuda stand-in: async copies from memory that isn't pinned work, and are complained of") {
  for (const bool allowed : {false, true}) {
    CAPTURE(allowed);
    reset({.allow_pageable = allowed});
    const TestStream stream;
    const Ints device(Where::kDevice, 4);
    std::array<int, 4> from = {1, 2, 3, 4};
    std::array<int, 4> to = {};
    CHECK(cudaMemcpyAsync(device.data(), from.data(), 16, cudaMemcpyHostToDevice, stream) ==
          cudaSuccess);
    from = {};  // staged already
    CHECK(cudaMemcpyAsync(to.data(), device.data(), 16, cudaMemcpyDeviceToHost, stream) ==
          cudaSuccess);
    CHECK(to == std::array<int, 4>{1, 2, 3, 4});
    if (allowed) {
      check_silent();
    } else {
      const std::vector<std::string> lines = complaints();
      REQUIRE(lines.size() == 2);
      CHECK(lines[0] ==
            "copy to device on stream 1 of 16 B: async copy from memory that isn't pinned");
      CHECK(lines[1] ==
            "copy to host on stream 1 of 16 B: async copy from memory that isn't pinned");
    }
  }
}

TEST_CASE("cuda stand-in: memory is freed and unregistered when the host has waited for its use") {
  for (const bool waited : {true, false}) {
    CAPTURE(waited);
    reset();
    const TestStream stream("the copies");
    std::vector<int> host(kInts);
    const std::size_t bytes = kInts * sizeof(int);
    REQUIRE(cudaHostRegister(host.data(), bytes, 0) == cudaSuccess);
    Ints device(Where::kDevice, kInts);
    CHECK(cudaMemcpyAsync(device.data(), host.data(), bytes, cudaMemcpyHostToDevice, stream) ==
          cudaSuccess);
    if (waited) CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
    device.free();
    CHECK(cudaHostUnregister(host.data()) == cudaSuccess);
    const std::vector<std::string> lines = complaints();
    if (waited) {
      check_silent();
    } else {
      REQUIRE(lines.size() == 2);
      CHECK(lines[0] ==
            "cudaFree of device allocation 2 (4.00 KiB), which copy to device on the copies may "
            "still be writing: the host never waited for it");
      CHECK(lines[1].starts_with("cudaHostUnregister of registration 1 (4.00 KiB of host memory)"));
    }
  }
}

TEST_CASE("cuda stand-in: the host can't use device memory") {
  reset();
  const Ints device(Where::kDevice, kInts);
  host_reads(device.data() + 3, 4);
  check_complaint({"use on the host of device allocation 1 (4.00 KiB)"});
}

TEST_CASE("cuda stand-in: what is left at the end is told") {
  reset();
  std::array<int, 256> host = {};
  {
    const TestStream stream;
    const TestEvent event;
    const Ints device(Where::kDevice, 4);
  }
  CHECK(complaints_at_exit().empty());
  void* memory = nullptr;
  cudaStream_t stream = nullptr;
  cudaEvent_t event = nullptr;
  CHECK(cudaMalloc(&memory, 3_MiB) == cudaSuccess);
  CHECK(cudaHostRegister(host.data(), sizeof(host), 0) == cudaSuccess);
  CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  CHECK(cudaEventCreateWithFlags(&event, 0) == cudaSuccess);
  std::vector<std::string> lines = complaints_at_exit();
  std::ranges::sort(lines);
  CHECK(lines == std::vector<std::string>{
                     "leaked: 1 event", "leaked: device allocation 2 (3.00 MiB)",
                     "leaked: registration 3 (1.00 KiB of host memory)", "leaked: stream 2"});
  CHECK(complaints().empty());
  reset();
  CHECK(complaints_at_exit().empty());
}

}  // namespace
}  // namespace sluice::fake_cuda
