#include "cli/chart.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace sluice {
namespace {

constexpr double kWidth = 860.0;
constexpr double kPlotHeight = 340.0;
constexpr double kLeft = 84.0;
constexpr double kRight = 32.0;
constexpr double kPlotWidth = kWidth - kLeft - kRight;
constexpr double kBelow = 66.0;  // tick labels and the axis' title
constexpr double kMargin = 28.0;
constexpr double kSmall = 12.5;  // size of labels
constexpr double kLegendRow = 22.0;
constexpr double kLegendKey = 34.0;  // a key and the room behind it
constexpr double kMarkerRow = 19.0;
constexpr std::size_t kManyPoints = 60;  // have smaller marks

std::string text_of(double whole) {
  return std::to_string(static_cast<long long>(whole));
}

struct Extent {
  double low = 0.0;
  double high = 1.0;
};

Extent extent_of(const Chart& chart, double PicturePoint::*axis) {
  Extent extent{1e300, -1e300};
  for (const Series& series : chart.series) {
    for (const PicturePoint& p : series.points) {
      extent.low = std::min(extent.low, p.*axis);
      extent.high = std::max(extent.high, p.*axis);
    }
  }
  return extent.low > extent.high ? Extent{} : extent;
}

// Puts markers' labels in rows above the plot, so that no two overlap and, where it can be had, no
// marker's line runs through another's label.
class MarkerRows {
 public:
  // The row, from the bottom, for a label over [left, right) whose line goes up at `x`.
  std::size_t place(double x, double left, double right) {
    std::size_t row = 0;
    while (row < placed_.size() && !is_free(row, left, right, x)) ++row;
    while (overlaps(row, left, right)) ++row;
    placed_.push_back({x, {left, right}, row});
    count_ = std::max(count_, row + 1);
    return row;
  }
  std::size_t count() const { return count_; }

 private:
  struct Label {
    double x;
    Extent extent;
    std::size_t row;
  };

  bool overlaps(std::size_t row, double left, double right) const {
    return std::ranges::any_of(placed_, [&](const Label& other) {
      return other.row == row && left < other.extent.high && other.extent.low < right;
    });
  }
  bool is_free(std::size_t row, double left, double right, double x) const {
    return !overlaps(row, left, right) && std::ranges::none_of(placed_, [&](const Label& other) {
      const bool cut = other.row > row && left < other.x && other.x < right;
      const bool cuts = other.row < row && other.extent.low < x && x < other.extent.high;
      return cut || cuts;
    });
  }

  std::vector<Label> placed_;
  std::size_t count_ = 0;
};

class Drawing {
 public:
  explicit Drawing(const Chart& chart) : chart_(chart) {
    const Extent x = extent_of(chart, &PicturePoint::x);
    const Extent y = extent_of(chart, &PicturePoint::y);
    const bool from_zero = x.low >= 0.0 && x.low < 0.5 * x.high;
    x_ = chart.x_doubles
             ? Ticks{.first = std::floor(std::log2(x.low)),
                     .count = 1 + static_cast<std::size_t>(std::ceil(std::log2(x.high / x.low)))}
             : make_ticks(from_zero ? 0.0 : x.low, x.high, 14);
    y_ = make_ticks(0.0, 1.03 * std::max(y.high, 0.0), 10);
  }

  std::string draw() {
    place_legend();
    place_markers();
    top_ = 84.0 + static_cast<double>(legend_rows_) * kLegendRow +
           static_cast<double>(marker_rows_) * kMarkerRow;
    Svg svg(kWidth, top_ + kPlotHeight + kBelow, chart_.title);
    draw_heading(svg, kWidth, chart_.title, chart_.subtitle);
    draw_legend(svg);
    draw_axes(svg);
    draw_markers(svg);
    for (const Series& series : chart_.series) draw_line(svg, series);
    for (const Series& series : chart_.series) draw_marks(svg, series);
    return svg.finish();
  }

 private:
  struct Placed {
    PicturePoint at;
    Anchor anchor;
    const ChartMarker* marker;
    std::size_t row;
  };

  PicturePoint at(PicturePoint value) const {
    const double x = chart_.x_doubles ? std::log2(value.x) : value.x;
    return {kLeft + (x - x_.first) / (x_.last() - x_.first) * kPlotWidth,
            top_ + kPlotHeight - (value.y - y_.first) / (y_.last() - y_.first) * kPlotHeight};
  }

  void place_legend() {
    double x = kMargin;
    for (const Series& series : chart_.series) {
      if (series.name.empty()) continue;
      const double width = kLegendKey + text_width(series.name, kSmall) + 18.0;
      if (legend_.empty() || x + width > kWidth - kMargin) {
        x = kMargin;
        ++legend_rows_;
      }
      legend_.push_back(
          {{x, 76.0 + static_cast<double>(legend_rows_) * kLegendRow - 11.0}, &series});
      x += width;
    }
  }

  void place_markers() {
    std::vector<const ChartMarker*> within;
    for (const ChartMarker& marker : chart_.markers) {
      if (marker.x >= x_.first && marker.x <= x_.last()) within.push_back(&marker);
    }
    const auto x_of = [&](const ChartMarker* marker) { return at({marker->x, 0.0}).x; };
    const auto width = [](const ChartMarker* marker) {
      return text_width(marker->label, kSmall) + 16.0;
    };
    const auto fits_right = [&](const ChartMarker* m) { return x_of(m) + width(m) < kWidth - 8.0; };
    const auto fits_left = [&](const ChartMarker* m) { return x_of(m) - width(m) > 8.0; };
    // Labels on the same side of their lines can always be laid out in stairs.
    const bool all_left =
        !std::ranges::all_of(within, fits_right) && std::ranges::all_of(within, fits_left);
    std::ranges::stable_sort(within, [&](const ChartMarker* a, const ChartMarker* b) {
      return all_left ? a->x < b->x : a->x > b->x;
    });
    MarkerRows rows;
    for (const ChartMarker* marker : within) {
      const double x = x_of(marker);
      const bool right = !all_left && fits_right(marker);
      const std::size_t row =
          rows.place(x, right ? x : x - width(marker), right ? x + width(marker) : x);
      markers_.push_back({{x, 0.0}, right ? Anchor::kStart : Anchor::kEnd, marker, row});
    }
    marker_rows_ = rows.count();
  }

  void draw_legend(Svg& svg) const {
    for (const LegendEntry& entry : legend_) {
      const double middle = entry.at.y - 4.5;
      const Series& s = *entry.series;
      if (s.line) {
        svg.line({entry.at.x, middle}, {entry.at.x + 24.0, middle},
                 {.colour = s.colour, .width = 2.5, .dashed = s.dashed});
      }
      if (s.marks) svg.mark({entry.at.x + 12.0, middle}, 4.5, s.shape, s.colour);
      svg.text({entry.at.x + kLegendKey - 2.0, entry.at.y}, s.name, {.size = kSmall});
    }
  }

  void draw_axes(Svg& svg) const {
    const double bottom = top_ + kPlotHeight;
    for (std::size_t i = 0; i < y_.count; ++i) {
      const double y = at({1.0, y_.value(i)}).y;
      if (i > 0) svg.line({kLeft, y}, {kLeft + kPlotWidth, y}, {.colour = palette::kGrid});
      svg.text({kLeft - 10.0, y + 4.3}, y_.print(i),
               {.size = kSmall, .colour = palette::kSoftInk, .anchor = Anchor::kEnd});
    }
    for (std::size_t i = 0; i < x_.count; ++i) {
      const double value = chart_.x_doubles ? std::exp2(x_.value(i)) : x_.value(i);
      const double x = at({value, 0.0}).x;
      svg.line({x, top_}, {x, bottom}, {.colour = palette::kGrid});
      svg.line({x, bottom}, {x, bottom + 5.0}, {.colour = palette::kAxis});
      svg.text({x, bottom + 21.0}, chart_.x_doubles ? text_of(value) : x_.print(i),
               {.size = kSmall, .colour = palette::kSoftInk, .anchor = Anchor::kMiddle});
    }
    svg.line({kLeft, bottom}, {kLeft + kPlotWidth, bottom}, {.colour = palette::kAxis});
    svg.text({kLeft + kPlotWidth / 2, bottom + 48.0}, chart_.x_title,
             {.size = 13.5, .anchor = Anchor::kMiddle});
    svg.text({30.0, top_ + kPlotHeight / 2}, chart_.y_title,
             {.size = 13.5, .anchor = Anchor::kMiddle, .upwards = true});
  }

  void draw_markers(Svg& svg) const {
    for (const Placed& placed : markers_) {
      const double label = top_ - 10.0 - static_cast<double>(placed.row) * kMarkerRow;
      const double x = placed.at.x;
      const char* colour = placed.marker->colour;
      svg.line({x, label - 10.0}, {x, top_ + kPlotHeight},
               {.colour = colour, .width = 1.5, .dashed = true});
      const double beside = placed.anchor == Anchor::kStart ? 7.0 : -7.0;
      svg.text({x + beside, label}, placed.marker->label,
               {.size = kSmall, .colour = colour, .anchor = placed.anchor});
    }
  }

  void draw_line(Svg& svg, const Series& series) const {
    if (!series.line || series.points.size() < 2) return;
    std::vector<PicturePoint> points;
    for (const PicturePoint& p : series.points) points.push_back(at(p));
    svg.path(points, {.colour = series.colour, .width = 2.5, .dashed = series.dashed});
  }

  // A line through one point alone would not be seen.
  void draw_marks(Svg& svg, const Series& series) const {
    const bool lone = series.line && series.points.size() == 1;
    if (!series.marks && !lone) return;
    const double radius = series.marks && series.points.size() <= kManyPoints ? 5.0 : 3.0;
    for (const PicturePoint& p : series.points) {
      svg.mark(at(p), radius, series.shape, series.colour);
    }
  }

  struct LegendEntry {
    PicturePoint at;  // the words' base line
    const Series* series;
  };

  const Chart& chart_;
  Ticks x_;
  Ticks y_;
  double top_ = 0.0;  // of the plot
  std::vector<LegendEntry> legend_;
  std::size_t legend_rows_ = 0;
  std::vector<Placed> markers_;
  std::size_t marker_rows_ = 0;
};

}  // namespace

std::string Ticks::print(std::size_t i) const {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.*f", decimals, value(i));
  return buffer;
}

Ticks make_ticks(double low, double high, std::size_t most) {
  if (!(high - low > 1e-9 * std::abs(low))) high = low + std::max(1.0, 1e-3 * std::abs(low));
  int power = static_cast<int>(std::floor(std::log10((high - low) / static_cast<double>(most))));
  for (;; ++power) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      // Powers below 1 are divided by, so that a step of 0.1 is the nearest to it.
      const double ten = std::pow(10.0, std::abs(power));
      const double step = power < 0 ? factor / ten : factor * ten;
      const double first = std::floor(low / step + 1e-9);
      const double last = std::ceil(high / step - 1e-9);
      const double count = last - first + 1.0;
      if (count > static_cast<double>(std::max<std::size_t>(most, 2))) continue;
      return {.first = first * step,
              .step = step,
              .count = static_cast<std::size_t>(std::max(count, 2.0)),
              .decimals = std::max(0, -power)};
    }
  }
}

std::string draw_chart(const Chart& chart) {
  return Drawing(chart).draw();
}

}  // namespace sluice
