#include "tests/cuda/runtime_history.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <random>
#include <set>
#include <utility>
#include <vector>

namespace sluice::fake_cuda {
namespace {

constexpr std::size_t kBytes = 24;
constexpr Actor kActors = 4;

OperationPtr make_operation(Actor actor, Clock& clock) {
  return std::make_shared<Operation>(Operation{"operation", "somewhere", actor, clock.tick(actor)});
}

using Found = std::set<std::pair<const Operation*, bool>>;

// The same, byte by byte, of all that ever happened.
struct PlainHistory {
  struct Use {
    OperationPtr operation;
    bool written;
  };
  std::array<std::vector<Use>, kBytes> uses;

  Found touch(std::size_t begin, std::size_t end, const Use& use, const Clock& clock) {
    Found found;
    for (std::size_t at = begin; at < end; ++at) {
      for (const Use& earlier : uses[at]) {
        if ((earlier.written || use.written) && !earlier.operation->seen_by(clock)) {
          found.emplace(earlier.operation.get(), earlier.written);
        }
      }
      uses[at].push_back(use);
    }
    return found;
  }
};

TEST_CASE("history: it finds a conflict where plain bookkeeping of every byte does, and no other") {
  std::size_t conflicts = 0;
  for (unsigned seed = 1; seed <= 500; ++seed) {
    CAPTURE(seed);
    std::minstd_rand random(seed);
    History history(kBytes);
    PlainHistory plain;
    std::array<Clock, kActors> clocks;  // the host's is the first
    for (int step = 0; step < 60; ++step) {
      CAPTURE(step);
      const Actor actor = random() % kActors;
      // Mostly somebody learns what another knows; all know what the host does.
      if (random() % 8 != 0) clocks[actor].join(clocks[random() % kActors]);
      clocks[actor].join(clocks[kHost]);
      const std::size_t begin = random() % kBytes;
      const std::size_t end = begin + 1 + random() % std::min<std::size_t>(4, kBytes - begin);
      const bool written = random() % 2 == 0;
      const OperationPtr operation = make_operation(actor, clocks[actor]);
      history.forget(begin, end, clocks[kHost]);
      Found found;
      for (const Conflict& conflict :
           history.touch(begin, end, written, operation, clocks[actor])) {
        CHECK(conflict.begin >= begin);
        CHECK(conflict.end <= end);
        found.emplace(conflict.earlier.get(), conflict.earlier_writes);
      }
      const Found expected = plain.touch(begin, end, {operation, written}, clocks[actor]);
      CHECK(found.empty() == expected.empty());
      for (const auto& each : found) CHECK(expected.contains(each));
      // From here on the two may differ: of operations that clash only the later is kept.
      if (expected.empty()) continue;
      ++conflicts;
      break;
    }
  }
  CHECK(conflicts > 100);
}

TEST_CASE("history: what the host knows to be over is forgotten") {
  constexpr std::size_t kPieces = 100;
  History history(kPieces);
  Clock host;
  Clock stream;
  for (std::size_t i = 0; i < kPieces; ++i) {
    history.touch(i, i + 1, true, make_operation(1, stream), stream);
  }
  CHECK(history.cell_count() == kPieces);
  history.forget(0, kPieces, host);
  CHECK(history.cell_count() == kPieces);
  CHECK(history.unseen(host).size() == kPieces);
  host.join(stream);
  history.forget(10, 20, host);
  CHECK(history.cell_count() == kPieces - 9);
  history.forget(0, kPieces, host);
  CHECK(history.cell_count() == 1);
  CHECK(history.unseen(host).empty());
}

}  // namespace
}  // namespace sluice::fake_cuda
