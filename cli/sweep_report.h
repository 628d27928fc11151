// A sweep as a table, as CSV, as JSON and as a picture.
#pragma once

#include <string>

#include "cli/options.h"
#include "cli/sweep.h"

namespace sluice {

std::string print_sweep_head(const Sweep& sweep);
std::string print_sweep_row(const Sweep& sweep, const SweepPoint& point);
// Where everything fits.
std::string print_sweep_foot(const SweepSeries& series);

// A line of names, then one for each point; a cell of what there isn't is empty.
std::string print_sweep_csv(const Sweep& sweep);
std::string print_sweep_json(const Sweep& sweep);

// The metric over device memory as SVG: a line of what was predicted, points of what was measured.
std::string draw_sweep(const Sweep& sweep, SweepMetric metric);

}  // namespace sluice
