#include "offload/routes.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "offload/cost_model.h"

namespace sluice {
namespace {

constexpr std::size_t kFewUnits = 4;  // all choices of so many are tried
constexpr std::size_t kShares = 8;    // of the units that the host could take, tried at first

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

// Of the units that the host could compute in a pass of so many tokens, the share that it does.
std::optional<double> share_of(const ModelLayout& model, const Plan& plan, std::size_t tokens) {
  const std::size_t route = plan.route_of(tokens);
  std::size_t free = 0;
  std::size_t taken = 0;
  for (std::size_t unit = 0; unit < plan.placement.size(); ++unit) {
    if (!is_outside(plan.placement[unit])) continue;
    if (model.units[unit].kind != UnitKind::kFeedForward) continue;
    ++free;
    taken += plan.by_host(unit, route);
  }
  if (free == 0) return std::nullopt;
  return static_cast<double>(taken) / static_cast<double>(free);
}

// The units that the host had best compute in a pass of `tokens`, chosen by replay: the link brings
// the others meanwhile. Units that are to be `streamed` aren't taken. And whether it had best
// attend, where it needn't.
Route choose_route(const ModelLayout& model, const Plan& plan, Schedule& schedule,
                   const PlanLimits& limits, const Hardware& hardware, std::size_t tokens,
                   const std::vector<bool>& streamed, const Plan* like) {
  std::vector<std::size_t> pinned;
  std::vector<std::size_t> free;
  for (std::size_t unit = 0; unit < model.units.size(); ++unit) {
    if (!is_outside(plan.placement[unit])) continue;
    if (model.units[unit].kind != UnitKind::kFeedForward) continue;
    const Pin pin = limits.pin(unit);
    if (pin == Pin::kByHost) pinned.push_back(unit);
    if (pin == Pin::kNone && limits.host_computes && !streamed[unit]) free.push_back(unit);
  }
  const auto route = [&](const std::vector<std::size_t>& chosen, bool host_attends) {
    Route r{.tokens = tokens,
            .by_host = std::vector<bool>(model.units.size()),
            .host_attends = host_attends};
    for (const std::size_t unit : pinned) r.by_host[unit] = true;
    for (const std::size_t unit : chosen) r.by_host[unit] = true;
    return r;
  };
  const auto fixed = [&] { return spread(free, std::min(*limits.host_units, free.size())); };
  const bool either_attends = plan.cache_slots > 0;
  if (limits.host_units && !either_attends) return route(fixed(), false);
  Plan trial = plan;
  const PassSize size = size_of(plan, tokens);
  const PieceTable pieces = predict_pieces(model, plan, schedule, hardware, size);
  Route best;
  double least = std::numeric_limits<double>::infinity();
  const auto consider_route = [&](Route other) {
    trial.routes = {std::move(other)};
    schedule.prologue = make_prologue(model, trial, schedule);
    const double s = predict_pass_seconds(model, trial, schedule, hardware, size, pieces);
    if (s >= least) return false;
    least = s;
    best = std::move(trial.routes.front());
    return true;
  };
  const auto consider = [&](const std::vector<std::size_t>& chosen) {
    return consider_route(route(chosen, best.host_attends));
  };
  // Who attends is looked at first, with some units by the host, and whatever they turn out to be
  // it stays with that.
  if (either_attends) {
    const std::vector<std::size_t> some =
        limits.host_units ? fixed() : spread(free, free.size() / 2);
    for (const bool host_attends : {true, false}) consider_route(route(some, host_attends));
  }
  if (limits.host_units) return best;
  if (free.size() <= kFewUnits) {
    for (std::size_t set = 0; set < std::size_t{1} << free.size(); ++set) {
      std::vector<std::size_t> chosen;
      for (std::size_t i = 0; i < free.size(); ++i) {
        if ((set >> i & 1) != 0) chosen.push_back(free[i]);
      }
      consider(chosen);
    }
    return best;
  }
  // Time falls, then rises, with the host's share, but for small waves.
  std::size_t count = either_attends ? free.size() / 2 : 0;  // of the best so far
  const std::optional<double> share =
      like == nullptr ? std::nullopt : share_of(model, *like, tokens);
  const auto try_count = [&](std::size_t other) {
    if (consider(spread(free, other))) count = other;
  };
  std::size_t step = std::max<std::size_t>(1, free.size() / (share ? 2 * kShares : kShares));
  if (share) {
    try_count(static_cast<std::size_t>(*share * static_cast<double>(free.size()) + 0.5));
    for (const bool more : {false, true}) {
      for (std::size_t before = count + 1; before != count;) {
        before = count;
        if (more && count + step <= free.size()) try_count(count + step);
        if (!more && count >= step) try_count(count - step);
      }
    }
  } else {
    for (std::size_t other = 0; other <= free.size(); other += step) try_count(other);
  }
  while (step > 1) {
    step = (step + 1) / 2;
    const std::size_t middle = count;
    if (middle >= step) try_count(middle - step);
    if (middle + step <= free.size()) try_count(middle + step);
  }
  return best;
}

}  // namespace

std::vector<Route> choose_routes(const ModelLayout& model, const Plan& plan, Schedule& schedule,
                                 const PlanLimits& limits, const Hardware& hardware,
                                 RouteSizes wanted, const Plan* like) {
  std::vector<std::size_t> of_workload;
  for (const PassCount& pass : passes_of(plan.workload, plan.segment_tokens).kinds) {
    if (pass.count == 0 || pass.size.tokens > kMostHostTokens) continue;
    of_workload.push_back(pass.size.tokens);
  }
  std::vector<std::size_t> sizes = of_workload;
  std::vector<bool> streamed(model.units.size());
  if (wanted == RouteSizes::kAll) {
    const std::size_t most = std::min(kMostHostTokens, plan.segment_tokens);
    for (std::size_t n = 1; n <= most; n *= 2) sizes.push_back(n);
    for (const Step& step : make_prologue(model, plan, schedule)) {
      streamed[schedule.pieces[step.piece].unit] = true;
    }
  }
  std::ranges::sort(sizes);
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  std::vector<Route> routes;
  for (const std::size_t n : sizes) {
    const std::size_t chosen = plan.route_of(n);
    const bool keep = wanted == RouteSizes::kAll && chosen < plan.routes.size() &&
                      std::ranges::find(of_workload, n) != of_workload.end();
    Route route = keep ? plan.routes[chosen]
                       : choose_route(model, plan, schedule, limits, hardware, n, streamed, like);
    if (!routes.empty() && routes.back().same_way(route)) {
      routes.back().tokens = n;
    } else {
      route.tokens = n;
      routes.push_back(std::move(route));
    }
  }
  const auto streams_all = [](const Route& r) { return !r.takes_units() && !r.host_attends; };
  while (!routes.empty() && streams_all(routes.back())) routes.pop_back();
  return routes;
}

}  // namespace sluice
