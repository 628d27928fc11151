// The stand-in's calls answer as the CUDA runtime's do.
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>

#include "memory/cuda/check.h"
#include "memory/cuda/nvml.h"
#include "memory/error.h"
#include "memory/units.h"
#include "tests/cuda/handles.h"

namespace sluice::fake_cuda {
namespace {

TEST_CASE("cuda stand-in: without a driver, or one too old, every call says so") {
  for (const int version : {0, 12080}) {
    CAPTURE(version);
    reset({.driver_version = version});
    int answer = -1;
    void* memory = nullptr;
    CHECK(cudaDriverGetVersion(&answer) == cudaSuccess);
    CHECK(answer == version);
    CHECK(cudaRuntimeGetVersion(&answer) == cudaSuccess);
    CHECK(answer == CUDART_VERSION);
    CHECK(cudaGetDeviceCount(&answer) == cudaErrorInsufficientDriver);
    CHECK(answer == CUDART_VERSION);  // untouched
    CHECK(cudaMalloc(&memory, 1) == cudaErrorInsufficientDriver);
    CHECK(cudaGetLastError() == cudaErrorInsufficientDriver);
    CHECK(cudaGetLastError() == cudaErrorInsufficientDriver);
    CHECK(cudaDeviceSynchronize() == cudaErrorInsufficientDriver);
  }
}

TEST_CASE("cuda stand-in: without a device every call says so") {
  reset({.devices = 0});
  int count = -1;
  void* memory = nullptr;
  cudaStream_t stream = nullptr;
  CHECK(cudaGetDeviceCount(&count) == cudaErrorNoDevice);
  CHECK(count == -1);  // untouched
  CHECK(cudaMalloc(&memory, 1) == cudaErrorNoDevice);
  CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaErrorNoDevice);
}

TEST_CASE("cuda stand-in: a device is what the machine says") {
  reset({.devices = 2, .compute_major = 9, .compute_minor = 0, .total_bytes = 2_GiB});
  cudaDeviceProp properties;
  CHECK(cudaSetDevice(2) == cudaErrorInvalidDevice);
  CHECK(cudaSetDevice(1) == cudaSuccess);
  int value = -1;
  CHECK(cudaGetDevice(&value) == cudaSuccess);
  CHECK(value == 1);
  CHECK(cudaSetDevice(0) == cudaSuccess);
  CHECK(cudaGetDeviceProperties(&properties, 1) == cudaSuccess);
  CHECK(properties.major == 9);
  CHECK(properties.totalGlobalMem == 2_GiB);
  CHECK(properties.sharedMemPerBlockOptin == 227_KiB);
  CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrComputeCapabilityMajor, 0) == cudaSuccess);
  CHECK(value == 9);
  CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrWarpSize, 2) == cudaErrorInvalidDevice);
  std::array<char, 16> id = {};
  CHECK(cudaDeviceGetPCIBusId(id.data(), static_cast<int>(id.size()), 1) == cudaSuccess);
  CHECK(std::string_view(id.data()) == "0000:02:00.0");
  CHECK(cudaFuncSetAttribute(id.data(), cudaFuncAttributeMaxDynamicSharedMemorySize, 227 << 10) ==
        cudaSuccess);
  CHECK(cudaFuncSetAttribute(id.data(), cudaFuncAttributeMaxDynamicSharedMemorySize, 228 << 10) ==
        cudaErrorInvalidValue);
}

TEST_CASE("cuda stand-in: device memory is counted in 2 MiB, with the context's and others'") {
  reset({.total_bytes = 256_MiB, .context_bytes = 64_MiB, .others_bytes = 100_MiB});
  CHECK(used_bytes() == 0);
  CHECK(device_used_bytes("0000:01:00.0") == 100_MiB);
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
  CHECK(cudaMemGetInfo(&free_bytes, &total_bytes) == cudaSuccess);
  CHECK(total_bytes == 256_MiB);
  CHECK(free_bytes == 92_MiB);
  void* memory = nullptr;
  CHECK(cudaMalloc(&memory, 92_MiB + 1) == cudaErrorMemoryAllocation);
  CHECK(memory == nullptr);
  {
    const TestArray<std::byte> small(Where::kDevice, 1);
    const TestArray<std::byte> rest(Where::kDevice, 90_MiB);
    CHECK(small.data()[0] == std::byte{0xFF});
    CHECK(used_bytes() == 156_MiB);
    CHECK(device_used_bytes("0000:01:00.0") == 256_MiB);
    CHECK(cudaMalloc(&memory, 1) == cudaErrorMemoryAllocation);
  }
  CHECK(used_bytes() == 64_MiB);
  CHECK(peak_bytes() == 156_MiB);
  set_others_bytes(190_MiB);
  CHECK(cudaMalloc(&memory, 4_MiB) == cudaErrorMemoryAllocation);
  reset({.total_bytes = 32_MiB, .context_bytes = 64_MiB});
  CHECK(cudaFree(nullptr) == cudaErrorMemoryAllocation);  // not even the context
  CHECK_FALSE(used_bytes() > 0);
  reset({.nvml = false});
  CHECK_FALSE(device_used_bytes("0000:01:00.0"));
}

TEST_CASE(
    "cuda stand-in: host memory is registered once, and copied from within one registration") {
  reset({.pinnable_bytes = 8_KiB, .pinnable_total_bytes = 12_KiB});
  const TestStream stream;
  const TestArray<std::byte> device(Where::kDevice, 8_KiB);
  std::vector<std::byte> host(32_KiB);
  std::byte* const at = host.data();
  CHECK(cudaHostRegister(at, 8_KiB + 1, 0) == cudaErrorMemoryAllocation);
  CHECK(cudaHostRegister(at, 4_KiB, 0) == cudaSuccess);
  CHECK(cudaHostRegister(at + 4_KiB - 1, 8, 0) == cudaErrorHostMemoryAlreadyRegistered);
  CHECK(cudaHostRegister(at + 4_KiB, 4_KiB, 0) == cudaSuccess);
  CHECK(cudaHostRegister(at + 16_KiB, 8_KiB, 0) == cudaErrorMemoryAllocation);
  const auto copy = [&](std::size_t from, std::size_t bytes) {
    return cudaMemcpyAsync(device.data(), at + from, bytes, cudaMemcpyHostToDevice, stream);
  };
  CHECK(copy(0, 4_KiB) == cudaSuccess);
  check_silent();
  CHECK(copy(1_KiB, 4_KiB) == cudaErrorInvalidValue);  // spans two
  CHECK(copy(6_KiB, 4_KiB) == cudaErrorInvalidValue);  // ends outside
  CHECK(complaints().size() == 2);
  cudaPointerAttributes attributes;
  CHECK(cudaPointerGetAttributes(&attributes, at + 5_KiB) == cudaSuccess);
  CHECK(attributes.type == cudaMemoryTypeHost);
  CHECK(cudaPointerGetAttributes(&attributes, at + 9_KiB) == cudaSuccess);
  CHECK(attributes.type == cudaMemoryTypeUnregistered);
  CHECK(cudaPointerGetAttributes(&attributes, device.data()) == cudaSuccess);
  CHECK(attributes.type == cudaMemoryTypeDevice);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(cudaHostUnregister(at + 1) == cudaErrorHostMemoryNotRegistered);
  CHECK(cudaHostUnregister(at) == cudaSuccess);
  CHECK(cudaHostUnregister(at) == cudaErrorHostMemoryNotRegistered);
  CHECK(cudaHostUnregister(at + 4_KiB) == cudaSuccess);
}

TEST_CASE("cuda stand-in: copies of every kind carry the bytes, and refuse a wrong kind") {
  reset();
  const TestArray<int> pinned(Where::kPinned, 256);
  const TestArray<int> a(Where::kDevice, 256);
  const TestArray<int> b(Where::kDevice, 256);
  std::array<int, 256> result = {};
  std::iota(pinned.data(), pinned.data() + 256, 7);
  CHECK(cudaMemcpy(a.data(), pinned.data(), 1_KiB, cudaMemcpyHostToDevice) == cudaSuccess);
  CHECK(cudaMemcpy(b.data(), a.data(), 1_KiB, cudaMemcpyDeviceToDevice) == cudaSuccess);
  CHECK(cudaMemset(b.data() + 255, 0, 4) == cudaSuccess);
  CHECK(cudaMemcpy(result.data(), b.data(), 1_KiB, cudaMemcpyDefault) == cudaSuccess);
  CHECK(result[254] == 261);
  CHECK(result[255] == 0);
  check_silent();
  CHECK(cudaMemcpy(a.data(), b.data(), 4, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  check_complaint({"copy on the default stream isn't of the kind that it says"});
}

TEST_CASE("cuda stand-in: a plain copy from memory that isn't pinned needn't be there on return") {
  reset();
  const TestStream stream;
  const TestArray<int> device(Where::kDevice, 4);
  const std::array<int, 4> host = {1, 2, 3, 4};
  CHECK(cudaMemcpy(device.data(), host.data(), 16, cudaMemcpyHostToDevice) == cudaSuccess);
  touching_kernel(stream, "early", {reads(device.data(), 16)});
  check_complaint({"kernel early on stream 1 reads", "copy to device on the default stream"});
}

TEST_CASE("cuda stand-in: queries say when work isn't done, and events time it") {
  reset();
  const TestStream stream;
  const TestEvent before(cudaEventDefault);
  const TestEvent after(cudaEventDefault);
  const TestEvent untimed;
  CHECK(cudaEventQuery(after) == cudaSuccess);  // never recorded
  float milliseconds = 0.0F;
  CHECK(cudaEventElapsedTime(&milliseconds, before, after) == cudaErrorInvalidResourceHandle);
  CHECK(cudaGetLastError() == cudaErrorInvalidResourceHandle);
  std::atomic<bool> go = false;
  const auto wait = [](void* flag) {
    while (!static_cast<std::atomic<bool>*>(flag)->load()) std::this_thread::yield();
  };
  CHECK(cudaEventRecord(before, stream) == cudaSuccess);
  CHECK(cudaEventSynchronize(before) == cudaSuccess);
  CHECK(cudaLaunchHostFunc(stream, wait, &go) == cudaSuccess);
  CHECK(cudaEventRecord(after, stream) == cudaSuccess);
  CHECK(cudaEventRecord(untimed, stream) == cudaSuccess);
  CHECK(cudaStreamQuery(stream) == cudaErrorNotReady);
  CHECK(cudaEventQuery(after) == cudaErrorNotReady);
  CHECK(cudaGetLastError() == cudaErrorNotReady);  // kept as any other answer is
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  go = true;
  CHECK(cudaEventSynchronize(after) == cudaSuccess);
  CHECK(cudaEventElapsedTime(&milliseconds, before, after) == cudaSuccess);
  CHECK(milliseconds > 1.0F);
  CHECK(cudaEventElapsedTime(&milliseconds, before, untimed) == cudaErrorInvalidResourceHandle);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(cudaStreamQuery(stream) == cudaSuccess);
}

TEST_CASE("cuda stand-in: destroyed streams and events aren't good any more") {
  reset();
  cudaStream_t stream = nullptr;
  cudaEvent_t event = nullptr;
  REQUIRE(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, -1) == cudaSuccess);
  REQUIRE(cudaEventCreateWithFlags(&event, 0) == cudaSuccess);
  CHECK(cudaEventDestroy(event) == cudaSuccess);
  CHECK(cudaEventRecord(event, stream) == cudaErrorInvalidResourceHandle);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream) == cudaErrorInvalidResourceHandle);
  CHECK(cudaStreamDestroy(nullptr) == cudaErrorInvalidResourceHandle);
  check_complaint({"stream 1 used after it was destroyed"});
}

TEST_CASE("cuda stand-in: work on a stream must not call CUDA") {
  reset();
  const TestStream stream;
  cudaError_t answer = cudaSuccess;
  enqueue_kernel(stream, "caller", [&] { answer = cudaDeviceSynchronize(); }, {});
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(answer == cudaErrorNotPermitted);
  check_complaint({"cudaDeviceSynchronize called by work on a stream"});
}

TEST_CASE("cuda stand-in: a call is failed on order, the right one and once") {
  reset();
  void* memory = nullptr;
  fail_call("cudaMalloc", cudaErrorMemoryAllocation, 1);
  CHECK(cudaMalloc(&memory, 8) == cudaSuccess);
  CHECK(cudaFree(memory) == cudaSuccess);
  CHECK(cudaPeekAtLastError() == cudaSuccess);
  CHECK(cudaMalloc(&memory, 8) == cudaErrorMemoryAllocation);
  CHECK(cudaPeekAtLastError() == cudaErrorMemoryAllocation);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
  CHECK(cudaGetLastError() == cudaSuccess);
  CHECK(cudaMalloc(&memory, 8) == cudaSuccess);
  CHECK(cudaFree(memory) == cudaSuccess);
  bool run = false;
  fail_call("cudaLaunchKernel", cudaErrorLaunchOutOfResources);
  enqueue_kernel(nullptr, "big", [&] { run = true; }, {});
  CHECK(cudaGetLastError() == cudaErrorLaunchOutOfResources);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  CHECK_FALSE(run);
}

TEST_CASE("cuda stand-in: a lost device stays lost until it is reset") {
  reset();
  fail_call("cudaStreamSynchronize", cudaErrorIllegalAddress);
  void* memory = nullptr;
  CHECK(cudaMalloc(&memory, 8) == cudaSuccess);
  CHECK(cudaStreamSynchronize(nullptr) == cudaErrorIllegalAddress);
  CHECK(cudaFree(memory) == cudaErrorIllegalAddress);
  CHECK(cudaGetLastError() == cudaErrorIllegalAddress);
  CHECK(cudaGetLastError() == cudaErrorIllegalAddress);
  CHECK(complaints_at_exit().empty());
  CHECK(cudaDeviceReset() == cudaSuccess);
  CHECK(cudaMalloc(&memory, 8) == cudaSuccess);
  CHECK(cudaFree(memory) == cudaSuccess);
}

TEST_CASE("cuda stand-in: an exception out of a kernel is a complaint") {
  reset();
  const TestStream stream;
  enqueue_kernel(stream, "thrower", [] { throw Error(ErrorKind::kInternal, "no such row"); }, {});
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  check_complaint({"kernel thrower: no such row"});
}

TEST_CASE("check_cuda: an answer other than success is an Error in the runtime's words") {
  check_cuda(cudaSuccess, "nothing");
  try {
    check_cuda(cudaErrorMemoryAllocation, "reserving 3 GiB");
    FAIL("no Error");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kDevice);
    CHECK(std::string_view(error.what()) ==
          "reserving 3 GiB: out of memory (cudaErrorMemoryAllocation)");
  }
}

}  // namespace
}  // namespace sluice::fake_cuda
