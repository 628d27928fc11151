// Calls that allocate, register and free.
#include "memory/units.h"
#include "tests/cuda/runtime_state.h"

namespace fake = sluice::fake_cuda;
using fake::call;
using fake::Lock;
using fake::Needs;
using fake::Region;
using fake::Runtime;

namespace {

constexpr std::size_t kGranularityBytes = std::size_t{2} << 20;  // of device memory

void* pointer(const Region& region) {
  return reinterpret_cast<void*>(region.begin);
}

bool may_pin(const Runtime& runtime, std::size_t bytes) {
  const std::size_t total_bytes = runtime.machine.pinnable_total_bytes;
  const std::size_t pinned_bytes = runtime.regions.pinned_bytes();
  return bytes <= runtime.machine.pinnable_bytes && pinned_bytes <= total_bytes &&
         bytes <= total_bytes - pinned_bytes;
}

// Frees what begins here if it is of this kind, once nothing uses it any more.
bool release(Runtime& runtime, const char* action, Region::Kind kind, void* begin) {
  Region* const region = runtime.regions.beginning(begin);
  if (region == nullptr || region->kind != kind) return false;
  fake::check_free(runtime, action, *region);
  fake::drain(runtime);
  if (kind == Region::Kind::kDevice) {
    runtime.used_bytes -= sluice::align_up(region->bytes, kGranularityBytes);
  }
  runtime.regions.free(*region);
  return true;
}

}  // namespace

extern "C" {

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  return call("cudaMalloc", Needs::kContext, [&](Runtime& runtime, Lock&) {
    if (memory == nullptr) return cudaErrorInvalidValue;
    *memory = nullptr;
    if (bytes == 0) return cudaSuccess;
    if (bytes > runtime.machine.total_bytes) return cudaErrorMemoryAllocation;
    const std::size_t taken_bytes = sluice::align_up(bytes, kGranularityBytes);
    if (!runtime.take(taken_bytes)) return cudaErrorMemoryAllocation;
    const Region* const region = runtime.regions.allocate(Region::Kind::kDevice, bytes);
    if (region == nullptr) {
      runtime.used_bytes -= taken_bytes;
      return cudaErrorMemoryAllocation;
    }
    *memory = pointer(*region);
    return cudaSuccess;
  });
}

cudaError_t cudaFree(void* memory) {
  return call("cudaFree", Needs::kContext, [&](Runtime& runtime, Lock&) {
    const bool good =
        memory == nullptr || release(runtime, "cudaFree", Region::Kind::kDevice, memory);
    return good ? cudaSuccess : cudaErrorInvalidValue;
  });
}

cudaError_t cudaMemGetInfo(std::size_t* free_bytes, std::size_t* total_bytes) {
  return call("cudaMemGetInfo", Needs::kContext, [&](Runtime& runtime, Lock&) {
    if (free_bytes == nullptr || total_bytes == nullptr) return cudaErrorInvalidValue;
    *free_bytes = runtime.free_bytes();
    *total_bytes = runtime.machine.total_bytes;
    return cudaSuccess;
  });
}

cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned int /*flags*/) {
  return call("cudaHostAlloc", Needs::kContext, [&](Runtime& runtime, Lock&) {
    if (memory == nullptr) return cudaErrorInvalidValue;
    *memory = nullptr;
    if (bytes == 0) return cudaSuccess;
    if (!may_pin(runtime, bytes)) return cudaErrorMemoryAllocation;
    const Region* const region = runtime.regions.allocate(Region::Kind::kPinned, bytes);
    if (region == nullptr) return cudaErrorMemoryAllocation;
    *memory = pointer(*region);
    return cudaSuccess;
  });
}

cudaError_t cudaFreeHost(void* memory) {
  return call("cudaFreeHost", Needs::kContext, [&](Runtime& runtime, Lock&) {
    const bool good =
        memory == nullptr || release(runtime, "cudaFreeHost", Region::Kind::kPinned, memory);
    return good ? cudaSuccess : cudaErrorInvalidValue;
  });
}

cudaError_t cudaHostRegister(void* memory, std::size_t bytes, unsigned int /*flags*/) {
  return call("cudaHostRegister", Needs::kContext, [&](Runtime& runtime, Lock&) {
    if (memory == nullptr || bytes == 0) return cudaErrorInvalidValue;
    if (runtime.regions.find(memory, bytes) != nullptr) {
      return cudaErrorHostMemoryAlreadyRegistered;
    }
    if (!may_pin(runtime, bytes)) return cudaErrorMemoryAllocation;
    runtime.regions.enter_registration(memory, bytes);
    return cudaSuccess;
  });
}

cudaError_t cudaHostUnregister(void* memory) {
  return call("cudaHostUnregister", Needs::kContext, [&](Runtime& runtime, Lock&) {
    if (memory == nullptr) return cudaErrorInvalidValue;
    const bool good = release(runtime, "cudaHostUnregister", Region::Kind::kRegistered, memory);
    return good ? cudaSuccess : cudaErrorHostMemoryNotRegistered;
  });
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* memory) {
  return call("cudaPointerGetAttributes", Needs::kContext, [&](Runtime& runtime, Lock&) {
    if (attributes == nullptr) return cudaErrorInvalidValue;
    *attributes = {};
    attributes->type = cudaMemoryTypeUnregistered;
    attributes->device = -2;  // cudaInvalidDeviceId
    const Region* const region = runtime.regions.find(memory, 1);
    void* const there = const_cast<void*>(memory);
    if (region == nullptr || region->freed) {
      attributes->hostPointer = there;
      return cudaSuccess;
    }
    const bool on_device = region->kind == Region::Kind::kDevice;
    attributes->type = on_device ? cudaMemoryTypeDevice : cudaMemoryTypeHost;
    attributes->device = 0;
    attributes->devicePointer = there;
    attributes->hostPointer = on_device ? nullptr : there;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceReset() {
  return call("cudaDeviceReset", Needs::kDriver, [&](Runtime& runtime, Lock&) {
    runtime.stop();
    runtime.device_error = cudaSuccess;
    runtime.has_context = false;
    runtime.used_bytes = 0;
    runtime.cublas_handles = 0;
    runtime.host = {};
    runtime.add_stream(false).name = "the default stream";
    return cudaSuccess;
  });
}

}  // extern "C"
