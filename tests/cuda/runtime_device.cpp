// Calls about the machine: drivers, devices, kernels' attributes.
#include <cstdio>

#include "tests/cuda/runtime_state.h"

namespace fake = sluice::fake_cuda;
using fake::call;
using fake::Lock;
using fake::Needs;
using fake::Runtime;

namespace {

thread_local int current_device = 0;

bool has_device(const Runtime& runtime, int device) {
  return device >= 0 && device < runtime.machine.devices;
}

constexpr int kSharedBytes = 48 << 10;  // of a block, unless it asks for more
// All that a block can ask for.
int shared_bytes_optin(const fake::Machine& machine) {
  switch (machine.compute_major * 10 + machine.compute_minor) {
    case 75:
      return 64 << 10;
    case 80:
    case 87:
      return 163 << 10;
    case 90:
    case 100:
    case 103:
    case 110:
      return 227 << 10;
    default:
      return 99 << 10;
  }
}

constexpr int kBusOfDevice0 = 1;

void fill(cudaDeviceProp& properties, const fake::Machine& machine, int device) {
  properties = {};
  std::snprintf(properties.name, sizeof(properties.name), "%s %d", machine.name, device);
  properties.totalGlobalMem = machine.total_bytes;
  properties.sharedMemPerBlock = kSharedBytes;
  properties.sharedMemPerBlockOptin = static_cast<std::size_t>(shared_bytes_optin(machine));
  properties.sharedMemPerMultiprocessor = properties.sharedMemPerBlockOptin + 1024;
  properties.reservedSharedMemPerBlock = 1024;
  properties.regsPerBlock = 65536;
  properties.regsPerMultiprocessor = 65536;
  properties.warpSize = 32;
  properties.maxThreadsPerBlock = 1024;
  properties.maxThreadsPerMultiProcessor = 1536;
  properties.maxThreadsDim[0] = properties.maxThreadsDim[1] = 1024;
  properties.maxThreadsDim[2] = 64;
  properties.maxGridSize[0] = 2147483647;
  properties.maxGridSize[1] = properties.maxGridSize[2] = 65535;
  properties.totalConstMem = 64 << 10;
  properties.major = machine.compute_major;
  properties.minor = machine.compute_minor;
  properties.multiProcessorCount = machine.multiprocessors;
  properties.memoryBusWidth = 128;
  properties.l2CacheSize = 2 << 20;
  properties.canMapHostMemory = 1;
  properties.concurrentKernels = 1;
  properties.pciBusID = kBusOfDevice0 + device;
  properties.asyncEngineCount = 2;
  properties.unifiedAddressing = 1;
  properties.streamPrioritiesSupported = 1;
  properties.managedMemory = 1;
  properties.canUseHostPointerForRegisteredMem = 1;
  properties.hostRegisterSupported = 1;
}

// -1: not known here.
int attribute(const cudaDeviceProp& properties, cudaDeviceAttr name) {
  switch (name) {
    case cudaDevAttrMaxThreadsPerBlock:
      return properties.maxThreadsPerBlock;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      return kSharedBytes;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      return static_cast<int>(properties.sharedMemPerBlockOptin);
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      return static_cast<int>(properties.sharedMemPerMultiprocessor);
    case cudaDevAttrWarpSize:
      return properties.warpSize;
    case cudaDevAttrMaxRegistersPerBlock:
      return properties.regsPerBlock;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      return properties.maxThreadsPerMultiProcessor;
    case cudaDevAttrMaxGridDimX:
      return properties.maxGridSize[0];
    case cudaDevAttrMaxGridDimY:
      return properties.maxGridSize[1];
    case cudaDevAttrMaxGridDimZ:
      return properties.maxGridSize[2];
    case cudaDevAttrMultiProcessorCount:
      return properties.multiProcessorCount;
    case cudaDevAttrAsyncEngineCount:
      return properties.asyncEngineCount;
    case cudaDevAttrIntegrated:
      return properties.integrated;
    case cudaDevAttrCanMapHostMemory:
      return properties.canMapHostMemory;
    case cudaDevAttrPciBusId:
      return properties.pciBusID;
    case cudaDevAttrPciDeviceId:
      return properties.pciDeviceID;
    case cudaDevAttrPciDomainId:
      return properties.pciDomainID;
    case cudaDevAttrUnifiedAddressing:
      return properties.unifiedAddressing;
    case cudaDevAttrMemoryClockRate:
      return 7000000;  // kHz
    case cudaDevAttrClockRate:
      return 1700000;  // kHz
    case cudaDevAttrGlobalMemoryBusWidth:
      return properties.memoryBusWidth;
    case cudaDevAttrL2CacheSize:
      return properties.l2CacheSize;
    case cudaDevAttrComputeCapabilityMajor:
      return properties.major;
    case cudaDevAttrComputeCapabilityMinor:
      return properties.minor;
    case cudaDevAttrStreamPrioritiesSupported:
      return properties.streamPrioritiesSupported;
    case cudaDevAttrHostRegisterSupported:
      return properties.hostRegisterSupported;
    case cudaDevAttrHostRegisterReadOnlySupported:
      return properties.hostRegisterReadOnlySupported;
    case cudaDevAttrPageableMemoryAccess:
      return properties.pageableMemoryAccess;
    case cudaDevAttrCanUseHostPointerForRegisteredMem:
      return properties.canUseHostPointerForRegisteredMem;
    default:
      return -1;
  }
}

}  // namespace

extern "C" {

cudaError_t cudaDriverGetVersion(int* version) {
  return call("cudaDriverGetVersion", Needs::kNothing, [&](Runtime& runtime, Lock&) {
    *version = runtime.machine.driver_version;
    return cudaSuccess;
  });
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  return call("cudaRuntimeGetVersion", Needs::kNothing, [&](Runtime&, Lock&) {
    *version = CUDART_VERSION;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDeviceCount(int* count) {
  return call("cudaGetDeviceCount", Needs::kDriver, [&](Runtime& runtime, Lock&) {
    if (runtime.machine.devices == 0) return cudaErrorNoDevice;  // leaves the count alone
    *count = runtime.machine.devices;
    return cudaSuccess;
  });
}

cudaError_t cudaSetDevice(int device) {
  return call("cudaSetDevice", Needs::kDevice, [&](Runtime& runtime, Lock&) {
    if (!has_device(runtime, device)) return cudaErrorInvalidDevice;
    current_device = device;
    return runtime.refusal("", Needs::kContext);  // it makes the context, since 12.0
  });
}

cudaError_t cudaGetDevice(int* device) {
  return call("cudaGetDevice", Needs::kDevice, [&](Runtime&, Lock&) {
    *device = current_device;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  return call("cudaGetDeviceProperties", Needs::kDevice, [&](Runtime& runtime, Lock&) {
    if (!has_device(runtime, device)) return cudaErrorInvalidDevice;
    fill(*properties, runtime.machine, device);
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr name, int device) {
  return call("cudaDeviceGetAttribute", Needs::kDevice, [&](Runtime& runtime, Lock&) {
    if (!has_device(runtime, device)) return cudaErrorInvalidDevice;
    cudaDeviceProp properties;
    fill(properties, runtime.machine, device);
    const int found = attribute(properties, name);
    if (found < 0) return cudaErrorInvalidValue;
    *value = found;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetPCIBusId(char* id, int bytes, int device) {
  return call("cudaDeviceGetPCIBusId", Needs::kDevice, [&](Runtime& runtime, Lock&) {
    if (!has_device(runtime, device)) return cudaErrorInvalidDevice;
    if (id == nullptr || bytes < 13) return cudaErrorInvalidValue;
    std::snprintf(id, static_cast<std::size_t>(bytes), "0000:%02X:00.0", kBusOfDevice0 + device);
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  return call("cudaDeviceGetStreamPriorityRange", Needs::kContext, [&](Runtime&, Lock&) {
    if (least != nullptr) *least = 0;
    if (greatest != nullptr) *greatest = -5;
    return cudaSuccess;
  });
}

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute name, int value) {
  return call("cudaFuncSetAttribute", Needs::kContext, [&](Runtime& runtime, Lock&) {
    if (function == nullptr || value < -1) return cudaErrorInvalidValue;
    if (name == cudaFuncAttributeMaxDynamicSharedMemorySize &&
        value > shared_bytes_optin(runtime.machine)) {
      return cudaErrorInvalidValue;
    }
    return cudaSuccess;
  });
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* function) {
  return call("cudaFuncGetAttributes", Needs::kContext, [&](Runtime& runtime, Lock&) {
    if (attributes == nullptr || function == nullptr) return cudaErrorInvalidValue;
    *attributes = {};
    attributes->maxThreadsPerBlock = 1024;
    attributes->numRegs = 32;
    attributes->binaryVersion = runtime.machine.compute_major * 10 + runtime.machine.compute_minor;
    attributes->ptxVersion = attributes->binaryVersion;
    attributes->maxDynamicSharedSizeBytes = kSharedBytes;
    return cudaSuccess;
  });
}

}  // extern "C"
