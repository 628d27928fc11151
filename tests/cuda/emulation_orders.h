// Running a check in each order of threads.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <string>

#include "tests/cuda/emulation.h"

namespace sluice::emulation::testing {

// No grid may break a rule meanwhile.
template <typename Check>
void for_each_order(const Check& check) {
  clear_violations();
  const auto run = [&](Order order, std::uint64_t seed) {
    set_order(order, seed);
    CAPTURE(static_cast<int>(order));
    CAPTURE(seed);
    check();
    const auto found = violations();
    CHECK_MESSAGE(found.empty(), (found.empty() ? std::string() : found.front()));
    clear_violations();
  };
  run(Order::kForward, 0);
  run(Order::kReverse, 0);
  for (std::uint64_t seed = 0; seed < 5; ++seed) run(Order::kRandom, seed);
  reset_order();
}

}  // namespace sluice::emulation::testing
