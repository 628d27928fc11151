// What a plan is for: a model file, or a shape's name, which needs none.
#pragma once

#include <optional>
#include <string>

#include "cli/memory_model.h"
#include "cli/session.h"

namespace sluice {

class PlannedModel {
 public:
  // `weights` is the type of a shape's matrices; empty: q4_k_m. Throws Error{kUsage} where a file
  // is given one, and as opening it does.
  PlannedModel(const std::string& name, const std::string& weights);

  const OpenModel& model() const { return *model_; }
  // A shape has no weights: nothing of it can be run.
  bool is_shape() const { return header_.has_value(); }

 private:
  std::optional<MemoryModel> header_;  // of a shape: what a file's would say
  std::optional<OpenModel> model_;
};

}  // namespace sluice
