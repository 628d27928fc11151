#include "offload/schedule.h"

#include <algorithm>

namespace sluice {
namespace {

// What a kind of pass streams.
struct Streamed {
  std::vector<std::uint32_t> pieces;  // in order
  std::vector<bool> is;               // [pieces of the schedule]
};

// `first`: pieces that are on their way before it is known what pass they are for.
Streamed streamed_in(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                     const std::vector<std::uint32_t>& first, bool logits, bool host) {
  Streamed streamed;
  streamed.is.resize(schedule.pieces.size());
  for (std::uint32_t piece = 0; piece < schedule.pieces.size(); ++piece) {
    const std::size_t unit = schedule.pieces[piece].unit;
    if (!schedule.streamed[piece]) continue;
    if (model.units[unit].kind == UnitKind::kHead && !logits) continue;
    const auto of_unit = [&](std::uint32_t p) { return schedule.pieces[p].unit == unit; };
    const bool early = std::any_of(first.begin(), first.end(), of_unit);
    if (host && plan.placement[unit] == Placement::kHost && !early) continue;
    streamed.pieces.push_back(piece);
    streamed.is[piece] = true;
  }
  return streamed;
}

std::vector<Step> pass_steps(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                             const std::vector<std::uint32_t>& first, bool logits, bool host) {
  const Streamed streamed = streamed_in(model, plan, schedule, first, logits, host);
  const std::vector<std::uint32_t>& mine = streamed.pieces;
  std::size_t issued = first.size();  // by the pass before
  std::size_t issued_next = 0;
  std::size_t unread = issued;
  std::vector<Step> steps;
  const auto fill_slots = [&] {
    for (; unread < plan.slots; ++unread) {
      if (issued < mine.size()) {
        steps.push_back({StepKind::kCopy, mine[issued++]});
      } else if (issued_next < first.size()) {
        steps.push_back({StepKind::kCopy, first[issued_next++]});
      } else {
        return;
      }
    }
  };
  steps.push_back({StepKind::kInput});
  fill_slots();
  for (std::uint32_t piece = 0; piece < schedule.pieces.size(); ++piece) {
    const std::size_t unit = schedule.pieces[piece].unit;
    if (model.units[unit].kind == UnitKind::kHead && !logits) continue;
    if (schedule.streamed[piece] && !streamed.is[piece]) {
      if (schedule.pieces[piece].begin_bytes == 0) steps.push_back({StepKind::kHost, piece});
      continue;
    }
    steps.push_back({StepKind::kCompute, piece});
    if (!streamed.is[piece]) continue;
    --unread;
    fill_slots();
  }
  if (logits) steps.push_back({StepKind::kLogits});
  return steps;
}

}  // namespace

Schedule make_schedule(const ModelLayout& model, const Plan& plan) {
  Schedule schedule;
  std::vector<std::uint32_t> first;
  for (std::size_t unit = 0; unit < model.units.size(); ++unit) {
    const Placement placement = plan.placement[unit];
    const bool streamed = placement == Placement::kStreamed || placement == Placement::kHost;
    const std::size_t limit_bytes = streamed ? plan.slot_bytes : model.units[unit].size_bytes;
    for (Piece& piece : cut_unit(model.units, unit, limit_bytes)) {
      const auto index = static_cast<std::uint32_t>(schedule.pieces.size());
      schedule.pieces.push_back(std::move(piece));
      schedule.streamed.push_back(streamed);
      const bool head = model.units[unit].kind == UnitKind::kHead;
      if (streamed && !head && first.size() < plan.slots) first.push_back(index);
    }
  }
  for (const std::uint32_t piece : first) schedule.prologue.push_back({StepKind::kCopy, piece});
  for (const bool logits : {false, true}) {
    for (const bool host : {false, true}) {
      schedule.passes[logits][host] = pass_steps(model, plan, schedule, first, logits, host);
    }
  }
  return schedule;
}

}  // namespace sluice
