// The stand-in for NVML: memory in use is what the Machine says.
#include "memory/cuda/nvml.h"

#include "tests/cuda/runtime_state.h"

namespace sluice {

std::optional<std::size_t> device_used_bytes(const std::string& /*pci_bus_id*/) {
  fake_cuda::Runtime& runtime = fake_cuda::Runtime::get();
  const fake_cuda::Lock lock(runtime.mutex);
  if (!runtime.machine.nvml || runtime.machine.devices == 0) return std::nullopt;
  return runtime.used_bytes + runtime.machine.others_bytes;
}

}  // namespace sluice
