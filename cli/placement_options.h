// The options of every command that places a model: what it is run on, and within what.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "cli/hardware_options.h"
#include "layers/activations.h"
#include "layers/ops_cpu.h"
#include "memory/kv_pages.h"
#include "memory/link.h"

namespace sluice {

enum class DeviceChoice { kAuto, kCpu, kSim, kCuda };

// What a model is run on, and within what.
struct PlacementOptions {
  std::string model;
  DeviceChoice device = DeviceChoice::kAuto;
  int gpu = 0;
  HardwareOptions hardware;  // to plan for
  std::string vram;          // "96MiB", "50%" of the weights, "auto", "unlimited"; empty: not given
  std::optional<std::size_t> ram_bytes;
  std::optional<LinkSpeed> link;
  ComputePace device_pace;  // of sim
  ComputePace host_pace;    // beside sim
  std::optional<std::size_t> slots;
  std::optional<std::size_t> segment_tokens;
  std::optional<std::size_t> context_tokens;
  std::optional<std::size_t> host_units;
  bool host_units_auto = false;  // as many as pay
  std::optional<std::size_t> host_cache_layers;
  bool host_cache_auto = false;
  std::optional<std::size_t> cache_slots;
  std::vector<std::string> place;  // "ffn.0-9=host": cli/placement_pins.h
  std::optional<std::size_t> resident_units;
  std::string plan_file;         // which says all of this; empty: none
  std::vector<KvType> kv_types;  // empty: the default
  std::optional<Precision> precision;
  bool cached_rates = false;  // plans take those of sluice probe
  std::size_t threads = 0;    // 0: all cores
};

// As given on the command line. CLI11 would wrap an Error of ours: values are kept as text first.
struct RawPlacement {
  std::string gpu;
  std::string link;
  std::string device_flops;
  std::string host_flops;
  std::string host_bandwidth;
  std::string ram;
  std::string host_units;
  std::string host_cache;
  std::string device = "auto";
  std::vector<std::string> kv_types;
  std::string precision;
};

inline constexpr std::size_t kMaxTokensOption = std::size_t{1} << 24;

// Adds them to a command; `raw` must outlive its parsing.
void add_placement(CLI::App& app, PlacementOptions& options, RawPlacement& raw);
// Once the command has been parsed. Throws Error{kUsage}.
void finish_placement(PlacementOptions& options, const RawPlacement& raw);

void add_threads(CLI::App& app, std::size_t& threads);
// Throws Error{kUsage} for more than the machine has cores.
void check_threads(std::size_t threads);

}  // namespace sluice
