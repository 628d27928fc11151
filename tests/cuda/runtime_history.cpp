#include "tests/cuda/runtime_history.h"

namespace sluice::fake_cuda {

namespace {

void add(std::vector<Conflict>& conflicts, const Conflict& conflict) {
  for (Conflict& known : conflicts) {
    if (known.earlier != conflict.earlier || known.earlier_writes != conflict.earlier_writes) {
      continue;
    }
    known.end = conflict.end;
    return;
  }
  conflicts.push_back(conflict);
}

}  // namespace

// The cell that begins at `at`, made if there is none; the end if `at` is the region's.
History::Cells::iterator History::split(std::size_t at) {
  const auto next = cells_.lower_bound(at);
  if (next != cells_.end() && next->first == at) return next;
  const auto cell = std::prev(next);
  if (cell->second.end <= at) return next;
  Cell second = cell->second;
  cell->second.end = at;
  return cells_.emplace_hint(next, at, std::move(second));
}

std::vector<Conflict> History::touch(std::size_t begin, std::size_t end, bool written,
                                     const OperationPtr& operation, const Clock& clock) {
  std::vector<Conflict> conflicts;
  const auto first = split(begin);
  const auto last = split(end);
  for (auto cell = first; cell != last; ++cell) {
    const OperationPtr& writer = cell->second.writer;
    // An operation may touch the same bytes twice.
    if (writer != nullptr && writer != operation && !writer->seen_by(clock)) {
      add(conflicts, {writer, true, cell->first, cell->second.end});
    }
    auto& readers = cell->second.readers;
    if (written) {
      for (const OperationPtr& reader : readers) {
        if (reader != operation && !reader->seen_by(clock)) {
          add(conflicts, {reader, false, cell->first, cell->second.end});
        }
      }
    } else {
      // A later reader of the same stream stands for the earlier ones.
      std::erase_if(readers,
                    [&](const OperationPtr& reader) { return reader->actor == operation->actor; });
      readers.push_back(operation);
    }
  }
  if (written) {
    cells_.erase(first, last);
    cells_[begin] = {end, operation, {}};
  }
  return conflicts;
}

void History::forget(std::size_t begin, std::size_t end, const Clock& host) {
  auto cell = cells_.upper_bound(begin);
  if (cell != cells_.begin()) --cell;
  auto blank = cells_.end();  // the one before, if it is blank
  while (cell != cells_.end() && cell->first < end) {
    Cell& history = cell->second;
    if (history.writer != nullptr && history.writer->seen_by(host)) history.writer = nullptr;
    std::erase_if(history.readers,
                  [&](const OperationPtr& reader) { return reader->seen_by(host); });
    if (!history.blank()) {
      blank = cells_.end();
      ++cell;
    } else if (blank == cells_.end()) {
      blank = cell++;
    } else {
      blank->second.end = history.end;
      cell = cells_.erase(cell);
    }
  }
}

std::vector<Conflict> History::unseen(const Clock& clock) const {
  std::vector<Conflict> conflicts;
  for (const auto& [begin, cell] : cells_) {
    if (cell.writer != nullptr && !cell.writer->seen_by(clock)) {
      add(conflicts, {cell.writer, true, begin, cell.end});
    }
    for (const OperationPtr& reader : cell.readers) {
      if (!reader->seen_by(clock)) add(conflicts, {reader, false, begin, cell.end});
    }
  }
  return conflicts;
}

}  // namespace sluice::fake_cuda
