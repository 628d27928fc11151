#include "offload/disk_stage.h"

#include <algorithm>
#include <cassert>

#include "memory/packed.h"
#include "memory/units.h"

namespace sluice {
namespace {

// Rows that go on where those before them end are read with them.
void add_rows(const ModelLayout& layout, const Piece& piece, std::size_t part_begin,
              std::vector<DiskRows>& rows) {
  for (const PanelRange& range : piece.ranges) {
    const MatrixInfo& matrix = layout.units[piece.unit].matrices[range.matrix];
    const std::size_t row = row_bytes(matrix.type(), matrix.columns());
    const std::size_t first = range.first_panel * kPanelRows;
    const DiskRows next{.file = matrix.tensor->file,
                        .begin_bytes = matrix.tensor->begin_bytes + first * row,
                        .rows = std::min(range.panels * kPanelRows, matrix.rows() - first),
                        .type = matrix.type(),
                        .columns = matrix.columns(),
                        .to_bytes = piece.begin_bytes + range.begin_bytes - part_begin};
    if (!rows.empty() && range.first_panel > 0) {
      rows.back().rows += next.rows;  // of the same matrix, which the piece before ended within
    } else {
      rows.push_back(next);
    }
  }
}

std::vector<std::uint32_t> parts_of(const Schedule& schedule) {
  std::vector<std::uint32_t> parts;
  for (std::uint32_t p = 0; p < schedule.pieces.size(); ++p) {
    if (schedule.on_disk[p] && schedule.part[p] == p) parts.push_back(p);
  }
  return parts;
}

// Where the rows of each part lie.
std::vector<std::vector<DiskRows>> rows_of(const ModelLayout& layout, const Schedule& schedule,
                                           const std::vector<std::uint32_t>& parts) {
  std::vector<std::vector<DiskRows>> all;
  for (const std::uint32_t part : parts) {
    std::vector<DiskRows> rows;
    for (std::uint32_t p = part; p < schedule.pieces.size() && schedule.part[p] == part; ++p) {
      add_rows(layout, schedule.pieces[p], schedule.pieces[part].begin_bytes, rows);
    }
    all.push_back(std::move(rows));
  }
  return all;
}

std::vector<std::byte*> cut_buffers(std::byte* memory, std::size_t count, std::size_t bytes) {
  std::vector<std::byte*> buffers;
  for (std::size_t i = 0; i < count; ++i) buffers.push_back(memory + i * bytes);
  return buffers;
}

}  // namespace

DiskStage::DiskStage(const ModelFile& file, const ModelLayout& layout, const Plan& plan,
                     const Schedule& schedule, Device& device, MakeReadQueue make_queue)
    : schedule_(schedule),
      parts_(parts_of(schedule)),
      buffers_(plan.disk_buffers),
      memory_(buffers_ * align_up(plan.disk_buffer_bytes)),
      warning_(memory_.pin(device)),
      reader_(file, rows_of(layout, schedule, parts_),
              cut_buffers(memory_.data(), buffers_, align_up(plan.disk_buffer_bytes)), make_queue) {
  const std::size_t head = schedule.unit[layout.units.size() - 1];
  before_head_ = static_cast<std::size_t>(
      std::ranges::count_if(parts_, [&](std::uint32_t p) { return p < head; }));
  for (std::size_t i = 0; i < buffers_; ++i) copied_.push_back(device.make_event());
  read_ahead();
}

void DiskStage::begin_pass(bool logits) {
  assert(next_ == pass_end_ && part_ == nullptr);
  next_ = next_pass_;
  next_pass_ = 0;
  pass_end_ = logits ? parts_.size() : before_head_;
  read_ahead();
}

const std::byte* DiskStage::take(std::uint32_t piece, Span* span) {
  const std::uint32_t first = schedule_.part[piece];
  assert(part_ == nullptr ? first == piece : piece == piece_ + 1);
  if (first == piece) {
    if (released_ == asked_) {  // every buffer is still being copied from
      copied_[asked_ % buffers_]->synchronize();
      read_ahead();
    }
    part_ = reader_.take(span);
  }
  piece_ = piece;
  return part_ + schedule_.pieces[piece].begin_bytes - schedule_.pieces[first].begin_bytes;
}

void DiskStage::release(Stream& stream) {
  if (!schedule_.ends_part(piece_)) return;
  stream.record(*copied_[released_ % buffers_]);
  part_ = nullptr;
  ++released_;
  read_ahead();
}

// Asks for what can be read by now: as much as there are buffers that nothing is copied from.
void DiskStage::read_ahead() {
  while (asked_ - released_ < buffers_ && copied_[asked_ % buffers_]->reached() && ask_next()) {
  }
}

bool DiskStage::ask_next() {
  const bool this_pass = next_ < pass_end_;
  if (!this_pass && next_pass_ == before_head_) return false;
  reader_.ask(this_pass ? next_++ : next_pass_++);
  ++asked_;
  return true;
}

}  // namespace sluice
