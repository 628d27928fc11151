// What is told of a plan, and of a run when it is over.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "cli/lanes.h"
#include "cli/session.h"

namespace sluice {

// What a run measured.
struct RunFigures {
  std::size_t prompt_tokens = 0;
  std::size_t generated_tokens = 0;
  std::size_t decode_passes = 0;
  double start_seconds = 0.0;  // from the start of the process to the first token
  double load_seconds = 0.0;
  double prefill_seconds = 0.0;          // to the first token's logits
  double decode_seconds = 0.0;           // of the passes after
  LaneSeconds decode_lanes{};            // of those passes
  LaneSeconds predicted_decode_lanes{};  // of one of them
};

// As a pass of one token of every sequence goes about them.
struct UnitCounts {
  std::size_t resident = 0;
  std::size_t in_place = 0;
  std::size_t streamed = 0;
  std::size_t host = 0;  // computed by it
};
UnitCounts count_units(const Plan& plan);

// A table of where everything goes; its device lines add up to the total. `context_from` says how
// the bytes of a GPU's driver are known.
std::string print_plan(const ModelLayout& layout, const Plan& plan,
                       std::string_view context_from = "measured, with code yet to be loaded");

// A few lines for the end of a run.
std::string print_report(const LoadedModel& model, const ModelLayout& layout, const Plan& plan,
                         const RunFigures& figures);

// The same and more, as JSON.
std::string print_stats(const LoadedModel& model, const ModelLayout& layout, const Plan& plan,
                        const RunFigures& figures);

}  // namespace sluice
