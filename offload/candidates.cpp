#include "offload/candidates.h"

#include <algorithm>

#include "memory/units.h"
#include "offload/host_budget.h"
#include "offload/routes.h"

namespace sluice {
namespace {

template <typename Sums>
void add(Sums& to, const Sums& s) {
  to.resident_bytes += s.resident_bytes;
  for (std::size_t p = 0; p < s.link.size(); ++p) {
    to.link[p] += s.link[p];
    to.host_link[p] += s.host_link[p];
    to.device[p] += s.device[p];
    to.by_host[p] += s.by_host[p];
  }
}

// Units in the order in which they become resident. What comes first in a pass is sent for before
// anything else is: it comes last here, and is streamed.
std::vector<std::size_t> resident_order(const std::vector<std::size_t>& units) {
  std::vector<std::size_t> order;
  for (const std::size_t i : spread_order(units.size())) {
    order.push_back(units[units.size() - 1 - i]);
  }
  return order;
}

}  // namespace

Candidates::Candidates(const ModelLayout& model, const PlanLimits& limits, const Hardware& hardware,
                       const WorkloadPasses& passes, const Plan& plan)
    : model_(model),
      limits_(limits),
      hardware_(hardware),
      passes_(passes),
      slot_bytes_(plan.slot_bytes),
      kv_(plan.kv.type),
      pinned_resident_(model.units.size()) {
  for (std::size_t p = 0; p < WorkloadPasses::kKinds; ++p) {
    const PassCount& pass = passes.kinds[p];
    if (pass.count == 0) continue;
    host_cache_seconds_[p] = host_cache_seconds(plan, pass.size);
    copied_cache_seconds_[p] = cache_traffic(plan.kv, hardware, pass.size).up_seconds;
  }
  std::array<std::vector<std::size_t>, kKinds> free;
  for (std::size_t unit = 0; unit < model.units.size(); ++unit) {
    const Pin pin = limits.pin(unit);
    if (pin == Pin::kNone) {
      free[static_cast<std::size_t>(model.units[unit].kind)].push_back(unit);
      continue;
    }
    pinned_resident_[unit] = pin == Pin::kResident;
    add(pinned_, sums_of(unit, pinned_resident_[unit]));
  }
  for (std::size_t k = 0; k < kKinds; ++k) {
    Kind& kind = kinds_[k];
    kind.order = resident_order(free[k]);
    kind.sums.resize(kind.order.size() + 1);
    Sums resident;
    for (std::size_t i = 0; i < kind.order.size(); ++i) {
      add(kind.sums[i], resident);
      add(resident, sums_of(kind.order[i], true));
    }
    kind.sums.back() = resident;
    Sums outside;
    for (std::size_t i = kind.order.size(); i-- > 0;) {
      add(outside, sums_of(kind.order[i], false));
      add(kind.sums[i], outside);
    }
  }
}

bool Candidates::may_host(std::size_t unit, bool resident) const {
  const Pin pin = limits_.pin(unit);
  return limits_.host_computes && !resident && pin != Pin::kStreamed &&
         model_.units[unit].kind == UnitKind::kFeedForward;
}

const Candidates::Sums& Candidates::sums_of(std::size_t unit, bool resident) {
  const bool host = may_host(unit, resident);
  for (const Met& met : met_) {
    if (met.resident == resident && met.may_host == host &&
        model_.units[met.unit].same_shape(model_.units[unit])) {
      return met.sums;
    }
  }
  met_.push_back({unit, resident, host, measure(unit, resident)});
  return met_.back().sums;
}

Candidates::Sums Candidates::measure(std::size_t unit, bool resident) const {
  const UnitInfo& info = model_.units[unit];
  const bool by_host = may_host(unit, resident);
  Sums sums;
  if (resident) sums.resident_bytes = align_up(info.size_bytes);
  const std::vector<Piece> pieces =
      cut_unit(model_.units, unit, resident ? info.size_bytes : slot_bytes_);
  const Piece whole = whole_unit(model_.units, unit);
  for (std::size_t p = 0; p < WorkloadPasses::kKinds; ++p) {
    const PassCount& pass = passes_.kinds[p];
    const bool skipped = info.kind == UnitKind::kHead && pass.size.rows == 0;
    if (pass.count == 0 || skipped) continue;
    for (const Piece& piece : pieces) {
      if (!resident) sums.link[p] += hardware_.to_device.seconds(piece.size_bytes);
      sums.device[p] += predict_piece(model_, hardware_.device, kv_, piece, pass.size).alone();
    }
    sums.by_host[p] = sums.device[p];
    if (!by_host || pass.size.tokens > kMostHostTokens) continue;
    const std::size_t row_bytes = model_.config.width * sizeof(float);
    sums.host_link[p] = sums.link[p];
    sums.by_host[p] = hardware_.turn_seconds +
                      hardware_.to_host.seconds(pass.size.tokens * row_bytes) +
                      hardware_.to_device.seconds(pass.size.tokens * row_bytes);
    sums.by_host[p] += predict_piece(model_, hardware_.host, kv_, whole, pass.size).alone();
  }
  return sums;
}

// Its rows go to the host, which attends instead of the device, and back.
double Candidates::host_cache_seconds(const Plan& plan, const PassSize& size) const {
  const ModelConfig& c = model_.config;
  const auto attending = [&](const ComputeRates& rates) {
    return predict_attention(model_, rates, kv_, size).alone();
  };
  const std::size_t down = size.tokens * mixed_row_bytes(c);
  const std::size_t up = size.tokens * attended_row_bytes(c, model_.units.front(), plan.precision);
  return hardware_.to_host.seconds(down) + hardware_.turn_seconds + attending(hardware_.host) +
         hardware_.to_device.seconds(up) - attending(hardware_.device);
}

// In each pass the longer of copying and computing, with as much of it the host's as evens them.
double Candidates::estimate(const Candidate& candidate, HostCaches caches) const {
  Sums sums = pinned_;
  const std::array<std::size_t, kKinds> counts = {candidate.attention, candidate.feed_forward,
                                                  candidate.head ? std::size_t{1} : 0};
  for (std::size_t k = 0; k < kKinds; ++k) {
    add(sums, kinds_[k].sums[counts[k]]);
  }
  double seconds = 0.0;
  for (std::size_t p = 0; p < WorkloadPasses::kKinds; ++p) {
    const auto layers = static_cast<double>(caches.layers);
    const double attending = layers * host_cache_seconds_[p];
    const double copying = layers * copied_cache_seconds_[p];
    double pass = pass_seconds(sums, p, attending, 0.0);
    if (caches.slots) pass = std::min(pass, pass_seconds(sums, p, 0.0, copying));
    seconds += pass * static_cast<double>(passes_.kinds[p].count);
  }
  return seconds;
}

// With so much for the device, and for the link, beside units.
double Candidates::pass_seconds(const Sums& sums, std::size_t p, double attending, double copying) {
  const double device = sums.device[p] + attending;
  const double link = sums.link[p] + copying;
  const double more = sums.by_host[p] - sums.device[p];
  double share = 0.0;
  if (sums.host_link[p] > 0.0) {
    share = more <= 0.0 ? 1.0 : (link - device) / (sums.host_link[p] + more);
    share = std::clamp(share, 0.0, 1.0);
  }
  return std::max(link - share * sums.host_link[p], device + share * more);
}

std::vector<Candidate> Candidates::within(std::size_t room_bytes, HostCaches caches) const {
  const auto& [attention, feed_forward, head] = kinds_;
  const auto bytes = [](const Kind& kind, std::size_t count) {
    return kind.sums[count].resident_bytes;
  };
  std::vector<Candidate> found;
  const auto pinned = static_cast<std::size_t>(std::ranges::count(pinned_resident_, true));
  for (std::size_t h = 0; h <= head.order.size(); ++h) {
    std::size_t a = attention.order.size();  // fewer and fewer have room
    for (std::size_t f = 0; f <= feed_forward.order.size(); ++f) {
      const std::size_t base = pinned_.resident_bytes + bytes(head, h) + bytes(feed_forward, f);
      if (base > room_bytes) break;
      if (limits_.resident_units) {
        if (pinned + f + h > *limits_.resident_units) break;
        a = *limits_.resident_units - pinned - f - h;
        if (a > attention.order.size() || base + bytes(attention, a) > room_bytes) continue;
      } else {
        while (base + bytes(attention, a) > room_bytes) --a;
      }
      Candidate candidate{a, f, h == 1, base + bytes(attention, a), 0.0};
      const bool everything = pinned + a + f + h == model_.units.size();
      if (everything) continue;  // slots would stand empty
      candidate.seconds = estimate(candidate, caches);
      found.push_back(candidate);
    }
  }
  return found;
}

std::vector<Placement> Candidates::placement(const Candidate& candidate) const {
  std::vector<Placement> placement(model_.units.size(), Placement::kHost);
  for (std::size_t unit = 0; unit < placement.size(); ++unit) {
    if (pinned_resident_[unit]) placement[unit] = Placement::kResident;
  }
  const std::array<std::size_t, kKinds> counts = {candidate.attention, candidate.feed_forward,
                                                  candidate.head ? std::size_t{1} : 0};
  for (std::size_t k = 0; k < kKinds; ++k) {
    for (std::size_t i = 0; i < counts[k]; ++i) {
      placement[kinds_[k].order[i]] = Placement::kResident;
    }
  }
  return placement;
}

}  // namespace sluice
