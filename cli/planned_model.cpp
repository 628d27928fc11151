#include "cli/planned_model.h"

#include "memory/error.h"
#include "memory/printable.h"

namespace sluice {

PlannedModel::PlannedModel(const std::string& name, const std::string& weights) {
  const ModelShape* shape = find_shape(name);
  if (shape == nullptr) {
    if (!weights.empty()) {
      throw Error(ErrorKind::kUsage, text("--weights ", printable(weights), ": ", printable(name),
                                          " is no shape; there are ", shape_names()));
    }
    model_.emplace(name);
    return;
  }
  const WeightsMixture mixture =
      parse_weights(weights.empty() ? kDefaultPlanWeights : std::string_view(weights));
  header_.emplace(SyntheticModel(*shape, mixture, 1), MemoryModel::HeaderOnly{});
  model_.emplace(header_->path());
}

}  // namespace sluice
