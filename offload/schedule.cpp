#include "offload/schedule.h"

#include <algorithm>

namespace sluice {
namespace {

struct PieceLists {
  std::vector<std::uint32_t> layers;  // streamed pieces of the layers
  std::vector<std::uint32_t> all;     // and of the head
};

std::vector<Step> pass_steps(const ModelLayout& model, const Schedule& schedule,
                             const PieceLists& lists, std::size_t slots, bool with_logits) {
  const std::vector<std::uint32_t>& mine = with_logits ? lists.all : lists.layers;
  const std::size_t ahead = std::min(slots, lists.layers.size());  // issued by the pass before
  std::size_t issued = std::min(ahead, mine.size());
  std::size_t issued_next = 0;
  std::size_t unread = issued;
  std::vector<Step> steps;
  const auto fill_slots = [&] {
    for (; unread < slots; ++unread) {
      if (issued < mine.size()) {
        steps.push_back({StepKind::kCopy, mine[issued++]});
      } else if (issued_next < ahead) {
        steps.push_back({StepKind::kCopy, lists.layers[issued_next++]});
      } else {
        return;
      }
    }
  };
  steps.push_back({StepKind::kInput});
  fill_slots();
  for (std::uint32_t piece = 0; piece < schedule.pieces.size(); ++piece) {
    const bool head = model.units[schedule.pieces[piece].unit].kind == UnitKind::kHead;
    if (head && !with_logits) continue;
    steps.push_back({StepKind::kCompute, piece});
    if (!schedule.streamed[piece]) continue;
    --unread;
    fill_slots();
  }
  if (with_logits) steps.push_back({StepKind::kLogits});
  return steps;
}

}  // namespace

Schedule make_schedule(const ModelLayout& model, const Plan& plan) {
  Schedule schedule;
  PieceLists lists;
  for (std::size_t unit = 0; unit < model.units.size(); ++unit) {
    const bool streamed = plan.placement[unit] == Placement::kStreamed;
    const std::size_t limit_bytes = streamed ? plan.slot_bytes : model.units[unit].size_bytes;
    for (Piece& piece : cut_unit(model.units, unit, limit_bytes)) {
      const auto index = static_cast<std::uint32_t>(schedule.pieces.size());
      schedule.pieces.push_back(std::move(piece));
      schedule.streamed.push_back(streamed);
      if (!streamed) continue;
      lists.all.push_back(index);
      if (model.units[unit].kind != UnitKind::kHead) lists.layers.push_back(index);
    }
  }
  const std::size_t ahead = std::min(plan.slots, lists.layers.size());
  for (std::size_t i = 0; i < ahead; ++i) {
    schedule.prologue.push_back({StepKind::kCopy, lists.layers[i]});
  }
  schedule.pass = pass_steps(model, schedule, lists, plan.slots, false);
  schedule.pass_with_logits = pass_steps(model, schedule, lists, plan.slots, true);
  return schedule;
}

}  // namespace sluice
