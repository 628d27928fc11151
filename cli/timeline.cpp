#include "cli/timeline.h"

#include <algorithm>
#include <cassert>
#include <filesystem>

#include "cli/chart.h"
#include "cli/format.h"
#include "cli/report.h"
#include "cli/svg.h"
#include "memory/error.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr double kWidth = 1000.0;
constexpr double kMargin = 28.0;
constexpr double kLeft = 110.0;  // of the bars
constexpr double kRight = 74.0;  // for busy shares
constexpr double kBarsWidth = kWidth - kLeft - kRight;
constexpr double kTop = 118.0;
constexpr double kHeading = 30.0;  // of a row of passes
constexpr double kLaneHeight = 26.0;
constexpr double kLaneGap = 7.0;
constexpr double kBetween = 16.0;  // rows
constexpr double kBelow = 62.0;    // ticks and the axis' title
constexpr double kSmall = 12.5;
constexpr double kThin = 1.5;  // narrower bars are merged with their neighbours
constexpr double kSlimGap = 0.75;
constexpr const char* kTrack = "#f3f5f7";

struct Kind {
  const char* name;
  const char* colour;
};
// By UnitKind, then what isn't weights.
constexpr std::array<Kind, 4> kKinds = {{{"attention", palette::kBlue},
                                         {"feed-forward", palette::kOrange},
                                         {"head", palette::kGreen},
                                         {"activations and logits", palette::kGrey}}};

bool is_decode(const PassSize& size) {
  return size.tokens == size.sequences && size.rows > 0;
}

std::string title_of(const PassSize& size, const std::string& model_name) {
  if (is_decode(size)) return "One decode pass of " + model_name;
  return text("One pass over ", size.tokens, " tokens of ", model_name);
}

// A span, or several that are too thin to be told apart.
struct Bar {
  double left;
  double right;
  std::array<double, kKinds.size()> width{};  // of each kind

  std::size_t kind() const {
    return static_cast<std::size_t>(std::ranges::max_element(width) - width.begin());
  }
};

struct TimelineRow {
  std::string name;
  Timeline timeline;  // of one pass
};

// The rows' passes one above the other, on one axis of time.
class Picture {
 public:
  Picture(const PassPredictor& predictor, std::vector<TimelineRow> rows)
      : predictor_(predictor), rows_(std::move(rows)) {
    for (const TimelineRow& row : rows_) {
      seconds_ = std::max(seconds_, seconds_of(row));
      for (const TraceEntry& e : row.timeline.entries) {
        used_[static_cast<std::size_t>(e.lane)] = true;
        shown_[kind_of(e)] = true;
      }
    }
  }

  std::string draw(const std::string& title, const std::string& subtitle) const {
    const auto lanes = static_cast<double>(std::ranges::count(used_, true));
    const double row_height = kHeading + lanes * (kLaneHeight + kLaneGap);
    const auto rows = static_cast<double>(rows_.size());
    const double bottom = kTop + rows * row_height + (rows - 1.0) * kBetween + 4.0;
    Svg svg(kWidth, bottom + kBelow, title);
    draw_heading(svg, kWidth, title, subtitle);
    draw_legend(svg);
    const Ticks ticks = make_ticks(0.0, seconds_ * 1e3, 12);
    draw_axis(svg, ticks, bottom);
    double top = kTop;
    for (const TimelineRow& row : rows_) {
      draw_row(svg, row, ticks, top, row_height);
      top += row_height + kBetween;
    }
    return svg.finish();
  }

 private:
  static double seconds_of(const TimelineRow& row) {
    const Span& span = row.timeline.passes.front().span;
    return span.end_seconds - span.begin_seconds;
  }
  double x_of(double seconds) const { return kLeft + seconds / seconds_ * kBarsWidth; }

  std::size_t kind_of(const TraceEntry& e) const {
    if (e.lane == Lane::kLinkDown) return kKinds.size() - 1;
    return static_cast<std::size_t>(predictor_.model().units[predictor_.piece(e).unit].kind);
  }

  void draw_legend(Svg& svg) const {
    double x = kMargin;
    for (std::size_t kind = 0; kind < kKinds.size(); ++kind) {
      if (!shown_[kind]) continue;
      svg.rectangle({x, 77.0}, 14.0, 14.0, kKinds[kind].colour, 2.0);
      svg.text({x + 21.0, 88.5}, kKinds[kind].name, {.size = kSmall});
      x += 21.0 + text_width(kKinds[kind].name, kSmall) + 22.0;
    }
  }

  bool beyond(double x) const { return x > kLeft + kBarsWidth + 0.5; }

  void draw_axis(Svg& svg, const Ticks& ticks, double bottom) const {
    for (std::size_t i = 0; i < ticks.count; ++i) {
      const double x = x_of(ticks.value(i) * 1e-3);
      if (beyond(x)) break;
      svg.line({x, bottom}, {x, bottom + 5.0}, {.colour = palette::kAxis});
      svg.text({x, bottom + 20.0}, ticks.print(i),
               {.size = kSmall, .colour = palette::kSoftInk, .anchor = Anchor::kMiddle});
    }
    svg.line({kLeft, bottom}, {kLeft + kBarsWidth, bottom}, {.colour = palette::kAxis});
    svg.text({kLeft + kBarsWidth / 2, bottom + 44.0}, "time since the pass began, ms",
             {.size = 13.5, .anchor = Anchor::kMiddle});
  }

  void draw_row(Svg& svg, const TimelineRow& row, const Ticks& ticks, double top,
                double height) const {
    for (std::size_t i = 0; i < ticks.count; ++i) {
      const double x = x_of(ticks.value(i) * 1e-3);
      if (beyond(x)) break;
      svg.line({x, top + kHeading - 6.0}, {x, top + height}, {.colour = palette::kGrid});
    }
    const Span& pass = row.timeline.passes.front().span;
    const double seconds = seconds_of(row);
    const LaneSeconds busy = lane_seconds(row.timeline.entries, pass);
    svg.text({kMargin, top + 14.0}, text(row.name, format(": %.2f ms", seconds * 1e3)),
             {.size = 14.0, .bold = true});
    svg.text({kWidth - kMargin, top + 14.0}, "busy",
             {.size = kSmall, .colour = palette::kSoftInk, .anchor = Anchor::kEnd});
    double y = top + kHeading;
    for (const LaneInfo& info : kLanes) {
      const auto lane = static_cast<std::size_t>(info.lane);
      if (!used_[lane]) continue;
      const double words = y + kLaneHeight / 2 + 4.4;
      svg.text({kLeft - 12.0, words}, info.name, {.size = 13.0, .anchor = Anchor::kEnd});
      svg.rectangle({kLeft, y}, x_of(seconds) - kLeft, kLaneHeight, kTrack);
      for (const Bar& bar : bars(row, info.lane)) draw_bar(svg, bar, y);
      svg.text({kWidth - kMargin, words},
               format("%.0f %%", seconds > 0.0 ? 100.0 * busy[lane] / seconds : 0.0),
               {.size = 13.0, .anchor = Anchor::kEnd});
      y += kLaneHeight + kLaneGap;
    }
    const double end = x_of(seconds);
    svg.line({end, top + kHeading - 6.0}, {end, y - kLaneGap + 4.0},
             {.colour = palette::kInk, .width = 1.25});
  }

  std::vector<Bar> bars(const TimelineRow& row, Lane lane) const {
    const Span& pass = row.timeline.passes.front().span;
    std::vector<Bar> bars;
    for (const TraceEntry& e : row.timeline.entries) {
      if (e.lane != lane) continue;
      const double begin = std::max(e.span.begin_seconds, pass.begin_seconds);
      const double end = std::min(e.span.end_seconds, pass.end_seconds);
      if (end <= begin) continue;
      Bar bar{x_of(begin - pass.begin_seconds), x_of(end - pass.begin_seconds)};
      const std::size_t kind = kind_of(e);
      bar.width[kind] = bar.right - bar.left;
      if (!bars.empty() && merges(bars.back(), bar)) {
        bars.back().right = bar.right;
        bars.back().width[kind] += bar.width[kind];
      } else {
        bars.push_back(bar);
      }
    }
    return bars;
  }

  static bool merges(const Bar& last, const Bar& next) {
    if (next.left - last.right > kSlimGap) return false;
    const bool last_thin = last.right - last.left < kThin;
    const bool next_thin = next.right - next.left < kThin;
    return last.kind() == next.kind() ? last_thin || next_thin : last_thin && next_thin;
  }

  // Those wide enough show where one ends and the next begins.
  static void draw_bar(Svg& svg, const Bar& bar, double y) {
    const double width = bar.right - bar.left;
    const double seam = width > 3.0 ? 0.6 : 0.0;
    svg.rectangle({bar.left, y}, std::max(width - seam, 0.6), kLaneHeight,
                  kKinds[bar.kind()].colour);
  }

  const PassPredictor& predictor_;
  const std::vector<TimelineRow> rows_;
  double seconds_ = 1e-9;  // of the longest pass
  std::array<bool, kLaneCount> used_{};
  std::array<bool, kKinds.size()> shown_{};
};

}  // namespace

const TracedPass& typical_decode_pass(const std::vector<TracedPass>& passes) {
  assert(!passes.empty());
  std::vector<const TracedPass*> decode;
  for (const TracedPass& pass : passes) {
    if (is_decode(pass.size)) decode.push_back(&pass);
  }
  if (decode.empty()) return passes.back();
  if (decode.size() > 1) decode.erase(decode.begin());
  const auto middle = decode.begin() + static_cast<std::ptrdiff_t>(decode.size() / 2);
  std::ranges::nth_element(decode, middle, {}, [](const TracedPass* pass) {
    return pass->span.end_seconds - pass->span.begin_seconds;
  });
  return **middle;
}

std::string draw_timeline(const PassPredictor& predictor, const PassSize& size,
                          const std::string& model_name, const std::string& subtitle) {
  return Picture(predictor, {{"predicted", predictor.pass(size)}})
      .draw(title_of(size, model_name), subtitle);
}

std::string draw_timeline(const PassPredictor& predictor, const Trace& trace,
                          const std::string& model_name, const std::string& subtitle) {
  const TracedPass& pass = typical_decode_pass(trace.passes());
  TimelineRow measured{"measured", {{}, {pass}}};
  for (const TraceEntry& e : trace.entries()) {
    const bool within = e.span.end_seconds > pass.span.begin_seconds &&
                        e.span.begin_seconds < pass.span.end_seconds;
    if (within) measured.timeline.entries.push_back(e);
  }
  return Picture(predictor, {std::move(measured), {"predicted", predictor.pass(pass.size)}})
      .draw(title_of(pass.size, model_name), subtitle);
}

std::string file_name(const std::string& path) {
  return std::filesystem::path(path).filename().string();
}

std::string picture_subtitle(const Plan& plan, const std::optional<LinkSpeed>& link) {
  const UnitCounts units = count_units(plan);
  return text(plan.limit_bytes ? "limit " + print_bytes(*plan.limit_bytes) : "no limit",
              link ? ", link " + print_rate(link->bytes_per_second) : "", "; of ",
              plan.placement.size(), " units ", units.resident + units.in_place, " resident, ",
              units.streamed, " streamed, ", units.host, " by the host");
}

}  // namespace sluice
