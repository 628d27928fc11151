// The CPU as a device: `sim` with an arena, queues on threads and a paced link, `cpu` in place.
#pragma once

#include <cstddef>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>

#include "memory/device.h"
#include "memory/link.h"

namespace sluice {

struct SimOptions {
  bool in_place = false;  // `cpu`: no limit, no copies, work is done as it is given
  std::size_t limit_bytes = std::numeric_limits<std::size_t>::max();
  LinkSpeed to_device;
  LinkSpeed to_host;
  // Told of every byte that the device takes from the system: how tests check the limit.
  std::function<void(std::size_t bytes)> on_reserve;
};

// The arena ends at a page that may not be touched, so that a write past the limit is a fault.
class DeviceSim final : public Device {
 public:
  explicit DeviceSim(const SimOptions& options);
  ~DeviceSim() override;
  DeviceSim(const DeviceSim&) = delete;
  DeviceSim& operator=(const DeviceSim&) = delete;

  std::string_view name() const override { return options_.in_place ? "cpu" : "sim"; }
  bool in_place() const override { return options_.in_place; }
  std::byte* reserve(std::size_t bytes) override;
  std::size_t reserved_bytes() const override { return reserved_bytes_; }
  std::unique_ptr<Stream> make_stream(std::string_view name) override;
  std::unique_ptr<Event> make_event() override;
  void copy(Stream& stream, Direction direction, std::byte* to, const std::byte* from,
            std::size_t bytes, Span* span = nullptr) override;
  void call(Stream& stream, Event& turn, const HostWork& work) override;
  std::string pin(std::byte* begin, std::size_t bytes) override;
  void unpin(std::byte* begin) override;

 private:
  SimOptions options_;
  Link to_device_;
  Link to_host_;
  std::byte* mapping_ = nullptr;
  std::size_t mapping_bytes_ = 0;
  std::size_t reserved_bytes_ = 0;
};

}  // namespace sluice
