// Who wrote and who read each byte last.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "tests/cuda/runtime_clock.h"

namespace sluice::fake_cuda {

// An earlier operation that nothing orders before a later one on the same bytes.
struct Conflict {
  OperationPtr earlier;
  bool earlier_writes;
  std::size_t begin;
  std::size_t end;
};

// The history of one region of memory: ranges of bytes, each with its last writer and the readers
// since, one a stream.
class History {
 public:
  explicit History(std::size_t bytes) { cells_[0] = {bytes, nullptr, {}}; }

  // Notes that `operation`, which knows of `clock`, reads or writes the bytes from `begin` to
  // `end`. Returns what it conflicts with, one for each earlier operation.
  std::vector<Conflict> touch(std::size_t begin, std::size_t end, bool written,
                              const OperationPtr& operation, const Clock& clock);

  // Drops what the host knows to be over between `begin` and `end`: whatever is begun later knows
  // it too. Keeps the history of a buffer that is written in small pieces short.
  void forget(std::size_t begin, std::size_t end, const Clock& host);

  // Whatever isn't known to be over.
  std::vector<Conflict> unseen(const Clock& clock) const;

  std::size_t cell_count() const { return cells_.size(); }

 private:
  struct Cell {
    std::size_t end;
    OperationPtr writer;
    std::vector<OperationPtr> readers;

    bool blank() const { return writer == nullptr && readers.empty(); }
  };
  using Cells = std::map<std::size_t, Cell>;  // by first byte; they cover the region

  Cells::iterator split(std::size_t at);

  Cells cells_;
};

}  // namespace sluice::fake_cuda
