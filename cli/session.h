// A model opened, planned and loaded as the command line asks.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "cli/options.h"
#include "cli/planned_hardware.h"
#include "layers/gpu.h"
#include "layers/ops_cpu.h"
#include "memory/device_sim.h"
#include "memory/model_file.h"
#include "offload/budgeter.h"
#include "offload/engine.h"
#include "offload/probe_layer.h"

namespace sluice {

// A model file and its description. Not movable: the description points into the file.
struct OpenModel {
  explicit OpenModel(const std::string& path, Overlaps overlaps = Overlaps::kRefused)
      : file(ModelFile::open(path, overlaps)), layout(describe_model(file)) {}
  OpenModel(const OpenModel&) = delete;

  ModelFile file;
  ModelLayout layout;
};

// The device and its limit, as asked for and as there is.
struct Target {
  bool in_place = false;
  PlanLimits limits;
  LinkSpeed link;
  ComputePace device_pace;
  ComputePace host_pace;
  bool cached_rates = false;               // of sluice probe
  std::shared_ptr<Gpu> gpu;                // null: the CPU computes
  std::optional<PlannedHardware> planned;  // instead of this machine: nothing can be run
  std::string note;                        // why there is none, where one would have been taken
};

// Throws Error{kUsage} for a device that isn't there, and for options that it can't honour. `peaks`
// takes what a GPU does at most, measured within the limit; without a GPU it is left as it is.
Target choose_target(const PlacementOptions& options, const ModelLayout& layout,
                     std::optional<GpuRates>* peaks = nullptr);

// What a model's passes run on, as `target` has it: measured for what the model needs, in passes of
// up to so many tokens.
Hardware hardware_for(const OpenModel& model, const Target& target,
                      std::size_t most_tokens = ProbeLayer::kMostTokens);

// A plan for `workload`. Refuses one that can't be kept before anything is measured or read.
// `hardware` takes what it was made for.
Plan plan_for(const OpenModel& model, const Workload& workload, const Target& target,
              Hardware* hardware = nullptr);

// An engine and the device under it.
class LoadedModel {
 public:
  LoadedModel(const OpenModel& model, const Plan& plan, const Target& target,
              const EngineOptions& options);

 private:
  std::shared_ptr<Gpu> gpu_;
  std::unique_ptr<DeviceSim> sim_;  // null: there is a GPU
  OpsCpu cpu_;

 public:
  Device& device;
  Engine engine;
};

}  // namespace sluice
