#include "offload/routes.h"

#include <algorithm>

#include "offload/cost_model.h"

namespace sluice {
namespace {

constexpr std::size_t kShares = 8;  // of the units that the host could take, tried at first

// A pass of so many tokens in the midst of generating.
PassSize size_of(const Plan& plan, std::size_t tokens) {
  const Workload& w = plan.workload;
  const std::size_t sequences = std::min(tokens, w.sequences);
  return {tokens, w.prompt_tokens + w.max_tokens / 2, sequences, sequences};
}

// `count` of `units`, as evenly spread as can be: the link brings others meanwhile.
std::vector<std::size_t> spread(const std::vector<std::size_t>& units, std::size_t count) {
  std::vector<std::size_t> chosen;
  for (std::size_t i = 0; i < count; ++i) {
    chosen.push_back(units[(2 * i + 1) * units.size() / (2 * count)]);
  }
  return chosen;
}

}  // namespace

Route choose_route(const ModelLayout& model, const Plan& plan, Schedule& schedule,
                   const PlanLimits& limits, const Hardware& hardware, std::size_t tokens) {
  std::vector<std::size_t> pinned;
  std::vector<std::size_t> free;
  for (std::size_t unit = 0; unit < model.units.size(); ++unit) {
    if (!is_outside(plan.placement[unit])) continue;
    if (model.units[unit].kind != UnitKind::kFeedForward) continue;
    const Pin pin = limits.pins.empty() ? Pin::kNone : limits.pins[unit];
    if (pin == Pin::kByHost) pinned.push_back(unit);
    if (pin == Pin::kNone) free.push_back(unit);
  }
  const auto route = [&](std::size_t count) {
    Route r{.tokens = tokens, .by_host = std::vector<bool>(model.units.size())};
    for (const std::size_t unit : pinned) r.by_host[unit] = true;
    for (const std::size_t unit : spread(free, count)) r.by_host[unit] = true;
    return r;
  };
  if (limits.host_units) return route(std::min(*limits.host_units, free.size()));
  Plan trial = plan;
  const PassSize size = size_of(plan, tokens);
  const PieceTable pieces = predict_pieces(model, schedule, hardware, size);
  const auto seconds = [&](std::size_t count) {
    trial.routes = {route(count)};
    schedule.prologue = make_prologue(model, trial, schedule);
    return predict_pass_seconds(model, trial, schedule, hardware, size, pieces);
  };
  // Time falls, then rises, with the host's share, but for small waves.
  std::size_t best = 0;
  double least = seconds(0);
  const auto consider = [&](std::size_t count) {
    const double s = seconds(count);
    if (s >= least) return;
    least = s;
    best = count;
  };
  std::size_t step = std::max<std::size_t>(1, free.size() / kShares);
  for (std::size_t count = step; count <= free.size(); count += step) consider(count);
  while (step > 1) {
    step = (step + 1) / 2;
    const std::size_t middle = best;
    if (middle >= step) consider(middle - step);
    if (middle + step <= free.size()) consider(middle + step);
  }
  return route(best);
}

std::vector<Route> choose_routes(const ModelLayout& model, const Plan& plan, Schedule& schedule,
                                 const PlanLimits& limits, const Hardware& hardware,
                                 RouteSizes wanted) {
  std::vector<std::size_t> sizes;
  const std::size_t most =
      wanted == RouteSizes::kAll ? std::min(kMostHostTokens, plan.segment_tokens) : 0;
  for (std::size_t n = 1; n <= most; n *= 2) sizes.push_back(n);
  for (const PassCount& pass : passes_of(plan.workload, plan.segment_tokens).kinds) {
    if (pass.count > 0 && pass.size.tokens <= kMostHostTokens) sizes.push_back(pass.size.tokens);
  }
  std::ranges::sort(sizes);
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  std::vector<Route> routes;
  for (const std::size_t n : sizes) {
    Route route = choose_route(model, plan, schedule, limits, hardware, n);
    if (!routes.empty() && routes.back().by_host == route.by_host) {
      routes.back().tokens = n;
    } else {
      routes.push_back(std::move(route));
    }
  }
  while (!routes.empty() && std::ranges::count(routes.back().by_host, true) == 0) routes.pop_back();
  return routes;
}

}  // namespace sluice
