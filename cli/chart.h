// A chart of lines and points, as one would put it in a report.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "cli/svg.h"

namespace sluice {

// Round values along an axis: first, first + step, ...
struct Ticks {
  double first = 0.0;
  double step = 1.0;
  std::size_t count = 2;
  int decimals = 0;  // with which all of them are exact

  double value(std::size_t i) const { return first + static_cast<double>(i) * step; }
  double last() const { return value(count - 1); }
  std::string print(std::size_t i) const;
};

// Steps of 1, 2 or 5 times a power of ten, the smallest that gives `most` ticks or fewer; the first
// is at `low` or below, the last at `high` or above.
Ticks make_ticks(double low, double high, std::size_t most);

struct Series {
  std::string name;  // in the legend; empty: not there
  std::vector<PicturePoint> points;
  const char* colour = palette::kInk;
  bool line = true;
  bool dashed = false;  // the line
  bool marks = false;
  std::size_t shape = 0;  // of the marks, see Svg::mark
};

// A vertical line at `x`, with words above the plot.
struct ChartMarker {
  double x;
  std::string label;
  const char* colour = palette::kSoftInk;
};

// Series without points stand in the legend alone. Markers beyond the axis are left out.
struct Chart {
  std::string title;
  std::string subtitle;
  std::string x_title;
  std::string y_title;
  std::vector<Series> series;
  std::vector<ChartMarker> markers;
  bool x_doubles = false;  // the horizontal axis: powers of two at equal distances
};

// The whole SVG file. The vertical axis begins at 0.
std::string draw_chart(const Chart& chart);

}  // namespace sluice
