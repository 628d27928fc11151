#include "memory/cuda/nvml.h"

#include <dlfcn.h>

namespace sluice {

namespace {

// As nvml.h declares them. Every call answers 0 for success.
struct NvmlMemory {
  unsigned long long total_bytes;
  unsigned long long free_bytes;
  unsigned long long used_bytes;  // with what the driver keeps for itself
};
using NvmlDevice = struct nvmlDevice_st*;

struct Nvml {
  int (*device_by_pci_bus_id)(const char* pci_bus_id, NvmlDevice* device) = nullptr;
  int (*memory_info)(NvmlDevice device, NvmlMemory* memory) = nullptr;
};

template <typename Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

// Never closed: the driver's libraries don't like it.
std::optional<Nvml> open_nvml() {
  void* const library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return std::nullopt;
  int (*init)() = nullptr;
  Nvml nvml;
  const bool found = find(library, "nvmlInit_v2", init) &&
                     find(library, "nvmlDeviceGetHandleByPciBusId_v2", nvml.device_by_pci_bus_id) &&
                     find(library, "nvmlDeviceGetMemoryInfo", nvml.memory_info);
  if (!found || init() != 0) return std::nullopt;
  return nvml;
}

}  // namespace

std::optional<std::size_t> device_used_bytes(const std::string& pci_bus_id) {
  static const std::optional<Nvml> nvml = open_nvml();
  if (!nvml) return std::nullopt;
  NvmlDevice device = nullptr;
  NvmlMemory memory = {};
  if (nvml->device_by_pci_bus_id(pci_bus_id.c_str(), &device) != 0) return std::nullopt;
  if (nvml->memory_info(device, &memory) != 0) return std::nullopt;
  return memory.used_bytes;
}

}  // namespace sluice
