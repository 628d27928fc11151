// What the driver's management library (NVML) knows of a device, without a CUDA context.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

namespace sluice {

// Memory in use on the device at `pci_bus_id` ("0000:01:00.0", as cudaDeviceGetPCIBusId writes it),
// by all processes and the driver. Nothing if there is no NVML, or it doesn't know the device.
std::optional<std::size_t> device_used_bytes(const std::string& pci_bus_id);

}  // namespace sluice
