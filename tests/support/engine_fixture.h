// A model file, opened and described, and engines on it with any limits.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "layers/ops_cpu.h"
#include "memory/device_sim.h"
#include "offload/budgeter.h"
#include "offload/engine.h"

namespace sluice {

// Rates of no machine in particular, so that plans in tests don't depend on this one.
Hardware test_hardware();

struct TestModel {
  explicit TestModel(const std::filesystem::path& path)
      : file(ModelFile::open(path)), layout(describe_model(file)) {}
  TestModel(const TestModel&) = delete;

  Plan plan(const Workload& workload, const PlanLimits& limits) const {
    return make_plan(layout, workload, limits, test_hardware());
  }

  ModelFile file;
  ModelLayout layout;
};

// An engine and all that it borrows, with a count of what its device took.
struct TestEngine {
  TestEngine(const TestModel& model, const Plan& plan, LinkSpeed link = {}, bool in_place = false);

  std::size_t reserved_bytes = 0;
  DeviceSim device;
  OpsCpu ops;
  Engine engine;
};

// Logits of every token of `sequences`, fed all at once to a fresh engine:
// [sequence][token][vocab].
using AllLogits = std::vector<std::vector<float>>;
AllLogits score_all(const TestModel& model, const Plan& plan, LinkSpeed link,
                    std::span<const std::vector<std::int32_t>> sequences, bool in_place = false);

}  // namespace sluice
