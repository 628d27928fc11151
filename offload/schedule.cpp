#include "offload/schedule.h"

#include <algorithm>

namespace sluice {

Attention Schedule::attention(std::size_t index) const {
  for (std::size_t piece = unit[index]; piece < unit[index + 1]; ++piece) {
    if (attends[piece]) return Attention::kElsewhere;
  }
  return Attention::kInUnit;
}

bool Schedule::ends_part(std::uint32_t piece) const {
  return piece + 1 == pieces.size() || part[piece + 1] != part[piece];
}

std::size_t Schedule::part_bytes(std::uint32_t piece) const {
  std::uint32_t last = piece;
  while (!ends_part(last)) ++last;
  const Piece& end = pieces[last];
  return end.begin_bytes + end.size_bytes - pieces[part[piece]].begin_bytes;
}

namespace {

// How a unit was cut. Layers are alike: most units are cut as one before them was.
struct Cut {
  std::size_t unit;
  std::size_t limit_bytes;
  Attention attention;
};

}  // namespace

Schedule make_schedule(const ModelLayout& model, const Plan& plan) {
  Schedule schedule;
  std::vector<Cut> cuts;
  for (std::size_t unit = 0; unit < model.units.size(); ++unit) {
    const bool outside = is_outside(plan.placement[unit]);
    const bool on_disk = plan.placement[unit] == Placement::kDisk;
    const std::size_t limit_bytes = outside ? plan.slot_bytes : model.units[unit].size_bytes;
    const UnitInfo& info = model.units[unit];
    const bool elsewhere = info.kind == UnitKind::kAttention && plan.caches_on_host(info.layer);
    const Attention attention = elsewhere ? Attention::kElsewhere : Attention::kInUnit;
    const auto twin = std::ranges::find_if(cuts, [&](const Cut& c) {
      return c.limit_bytes == limit_bytes && c.attention == attention &&
             model.units[c.unit].same_shape(info);
    });
    std::vector<Piece> pieces;
    if (twin == cuts.end()) {
      pieces = cut_unit(model.units, unit, limit_bytes, attention);
      schedule.whole.push_back(whole_unit(model.units, unit));
      cuts.push_back({unit, limit_bytes, attention});
    } else {
      const auto all = schedule.pieces.begin();
      pieces.assign(all + schedule.unit[twin->unit], all + schedule.unit[twin->unit + 1]);
      schedule.whole.push_back(Piece(schedule.whole[twin->unit]));
      schedule.whole.back().unit = unit;
    }
    schedule.unit.push_back(schedule.pieces.size());
    for (Piece& piece : pieces) {
      piece.unit = unit;
      const auto index = static_cast<std::uint32_t>(schedule.pieces.size());
      const std::size_t end = piece.begin_bytes + piece.size_bytes;
      const bool begins_part =
          !on_disk || piece.begin_bytes == 0 ||
          end - schedule.pieces[schedule.part.back()].begin_bytes > plan.disk_buffer_bytes;
      schedule.part.push_back(begins_part ? index : schedule.part.back());
      schedule.attends.push_back(elsewhere && ends_before_attention(info, piece));
      schedule.pieces.push_back(std::move(piece));
      schedule.outside.push_back(outside);
      schedule.on_disk.push_back(on_disk);
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
    if (!is_outside(plan.placement[unit])) continue;
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
  copies.reserve(schedule.pieces.size() + schedule.prologue.size());
  for (std::size_t unit = 0; unit < units; ++unit) {
    if (how(unit) != How::kStreamed) continue;
    for (std::size_t piece = schedule.unit[unit]; piece < schedule.unit[unit + 1]; ++piece) {
      copies.push_back({StepKind::kCopy, static_cast<std::uint32_t>(piece)});
    }
  }
  copies.insert(copies.end(), schedule.prologue.begin(), schedule.prologue.end());

  std::size_t issued = schedule.prologue.size();  // by the pass before
  std::size_t unread = issued;
  // The next unit that the host computes from the disk.
  std::size_t host_reads = 0;
  const auto skip_to_host_read = [&](std::size_t from) {
    host_reads = from;
    while (host_reads < units &&
           !(how(host_reads) == How::kByHost && plan.placement[host_reads] == Placement::kDisk)) {
      ++host_reads;
    }
  };
  skip_to_host_read(0);
  const bool host_attends = plan.host_attends(route);
  std::vector<std::uint32_t> caches;  // to be copied, by the pieces that they are wanted behind
  for (std::uint32_t piece = 0; !host_attends && piece < schedule.pieces.size(); ++piece) {
    if (schedule.attends[piece]) caches.push_back(piece);
  }
  std::size_t next_cache = 0;
  std::size_t unread_caches = 0;
  std::vector<Step> steps;
  steps.reserve(2 * schedule.pieces.size() + 2 * caches.size() + 2);
  const auto fill_cache_slots = [&] {
    for (; unread_caches < plan.cache_slots && next_cache < caches.size(); ++unread_caches) {
      steps.push_back({StepKind::kCopyCache, caches[next_cache++]});
    }
  };
  const auto fill_slots = [&](bool wait_for_disk = true) {
    for (; unread < plan.slots && issued < copies.size(); ++unread) {
      const std::uint32_t piece = copies[issued].piece;
      const bool waits = schedule.on_disk[piece];
      if (waits && (!wait_for_disk || schedule.pieces[piece].unit > host_reads)) break;
      steps.push_back(copies[issued++]);
    }
  };
  steps.push_back({StepKind::kInput});
  fill_slots();
  fill_cache_slots();
  for (std::size_t unit = 0; unit < units; ++unit) {
    const How this_one = how(unit);
    const auto first = static_cast<std::uint32_t>(schedule.unit[unit]);
    if (this_one == How::kByHost) {
      steps.push_back({StepKind::kHost, first});
      if (unit == host_reads) {
        skip_to_host_read(unit + 1);
        fill_slots();
      }
      continue;
    }
    for (std::uint32_t piece = first; piece < schedule.unit[unit + 1]; ++piece) {
      const bool attends = schedule.attends[piece];
      steps.push_back({StepKind::kCompute, piece});
      if (this_one == How::kStreamed) {
        --unread;
        fill_slots(!attends || !host_attends);
      }
      if (!attends) continue;
      steps.push_back({host_attends ? StepKind::kAttend : StepKind::kAttendCopied, piece});
      if (host_attends) {
        fill_slots();
      } else {
        --unread_caches;
        fill_cache_slots();
      }
    }
  }
  if (logits) steps.push_back({StepKind::kLogits});
  return steps;
}

}  // namespace sluice
