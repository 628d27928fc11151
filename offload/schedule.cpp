#include "offload/schedule.h"

#include <algorithm>

namespace sluice {

Schedule make_schedule(const ModelLayout& model, const Plan& plan) {
  Schedule schedule;
  for (std::size_t unit = 0; unit < model.units.size(); ++unit) {
    const bool outside = plan.placement[unit] == Placement::kHost;
    const std::size_t limit_bytes = outside ? plan.slot_bytes : model.units[unit].size_bytes;
    schedule.unit.push_back(schedule.pieces.size());
    for (Piece& piece : cut_unit(model.units, unit, limit_bytes)) {
      schedule.pieces.push_back(std::move(piece));
      schedule.outside.push_back(outside);
    }
  }
  schedule.unit.push_back(schedule.pieces.size());
  schedule.prologue = make_prologue(model, plan, schedule);
  return schedule;
}

std::vector<Step> make_prologue(const ModelLayout& model, const Plan& plan,
                                const Schedule& schedule) {
  std::vector<Step> prologue;
  for (std::size_t unit = 0; unit < model.units.size(); ++unit) {
    if (plan.placement[unit] != Placement::kHost) continue;
    if (model.units[unit].kind == UnitKind::kHead || !plan.always_streamed(unit)) break;
    for (std::size_t piece = schedule.unit[unit]; piece < schedule.unit[unit + 1]; ++piece) {
      if (prologue.size() == plan.slots) return prologue;
      prologue.push_back({StepKind::kCopy, static_cast<std::uint32_t>(piece)});
    }
  }
  return prologue;
}

std::vector<Step> pass_steps(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                             std::size_t route, bool logits) {
  enum class How : std::uint8_t { kOnDevice, kStreamed, kByHost };
  const std::size_t units = model.units.size() - (logits ? 0 : 1);  // the head is last
  const auto how = [&](std::size_t unit) {
    if (!schedule.outside[schedule.unit[unit]]) return How::kOnDevice;
    return plan.by_host(unit, route) ? How::kByHost : How::kStreamed;
  };
  std::vector<Step> copies;  // of this pass, then what the next finds on its way
  for (std::size_t unit = 0; unit < units; ++unit) {
    if (how(unit) != How::kStreamed) continue;
    for (std::size_t piece = schedule.unit[unit]; piece < schedule.unit[unit + 1]; ++piece) {
      copies.push_back({StepKind::kCopy, static_cast<std::uint32_t>(piece)});
    }
  }
  copies.insert(copies.end(), schedule.prologue.begin(), schedule.prologue.end());

  std::size_t issued = schedule.prologue.size();  // by the pass before
  std::size_t unread = issued;
  std::vector<Step> steps;
  const auto fill_slots = [&] {
    for (; unread < plan.slots && issued < copies.size(); ++unread) {
      steps.push_back(copies[issued++]);
    }
  };
  steps.push_back({StepKind::kInput});
  fill_slots();
  for (std::size_t unit = 0; unit < units; ++unit) {
    const How this_one = how(unit);
    const auto first = static_cast<std::uint32_t>(schedule.unit[unit]);
    if (this_one == How::kByHost) {
      steps.push_back({StepKind::kHost, first});
      continue;
    }
    for (std::uint32_t piece = first; piece < schedule.unit[unit + 1]; ++piece) {
      steps.push_back({StepKind::kCompute, piece});
      if (this_one == How::kOnDevice) continue;
      --unread;
      fill_slots();
    }
  }
  if (logits) steps.push_back({StepKind::kLogits});
  return steps;
}

}  // namespace sluice
