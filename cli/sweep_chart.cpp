#include <algorithm>

#include "cli/chart.h"
#include "cli/sweep_report.h"
#include "memory/error.h"
#include "memory/printable.h"
#include "memory/units.h"

namespace sluice {
namespace {

struct Scale {
  double bytes;
  const char* name;
};

Scale scale_of(const Sweep& sweep) {
  std::size_t most = 0;
  for (const SweepSeries& series : sweep.series) {
    most = std::max(most, series.points.back().limit_bytes);
  }
  if (most >= 2_GiB) return {static_cast<double>(1_GiB), "GiB"};
  return {static_cast<double>(1_MiB), "MiB"};
}

double shown(SweepMetric metric, const SweepSpeeds& speeds) {
  switch (metric) {
    case SweepMetric::kDecode:
      return speeds.decode_tokens_per_second;
    case SweepMetric::kPrefill:
      return speeds.prefill_tokens_per_second;
    case SweepMetric::kTotal:
      return speeds.total_seconds;
  }
  return 0.0;
}

struct Words {
  const char* title;
  const char* axis;
};

Words words_of(SweepMetric metric) {
  switch (metric) {
    case SweepMetric::kDecode:
      return {"Generation speed by device memory", "generated, tokens/s"};
    case SweepMetric::kPrefill:
      return {"Prompt speed by device memory", "prompt, tokens/s"};
    case SweepMetric::kTotal:
      return {"Time for prompt and reply by device memory", "prompt and reply, s"};
  }
  return {"", ""};
}

std::string subtitle(const Sweep& sweep) {
  const Workload& w = sweep.series.front().workload;
  const std::string& weights = sweep.series.front().weights;
  const bool all_alike = std::ranges::all_of(
      sweep.series, [&](const SweepSeries& series) { return series.weights == weights; });
  std::string line = printable(sweep.model);
  if (all_alike && !weights.empty()) line += text(" in ", weights);
  line += text(" on ", sweep.device);
  if (sweep.link) line += text(", link ", print_rate(sweep.link->bytes_per_second));
  line += text("; prompt ", w.prompt_tokens, ", reply ", w.max_tokens, " tokens");
  return sweep.series.size() == 1 && w.sequences > 1 ? line + text(", ", w.sequences, " sequences")
                                                     : line;
}

}  // namespace

std::string draw_sweep(const Sweep& sweep, SweepMetric metric) {
  const Scale scale = scale_of(sweep);
  const Words words = words_of(metric);
  const bool alone = sweep.series.size() == 1;
  Chart chart{.title = words.title,
              .subtitle = subtitle(sweep),
              .x_title = text("device memory, ", scale.name),
              .y_title = words.axis,
              .series = {},
              .markers = {}};
  for (std::size_t i = 0; i < sweep.series.size(); ++i) {
    const SweepSeries& of = sweep.series[i];
    const char* colour = palette::kSeries[i % std::size(palette::kSeries)];
    Series predicted{.name = alone ? "predicted" : of.name,
                     .points = {},
                     .colour = colour,
                     .dashed = i >= std::size(palette::kSeries)};
    Series measured{.name = alone && sweep.measured ? "measured" : "",
                    .points = {},
                    .colour = colour,
                    .line = false,
                    .marks = true,
                    .shape = i};
    for (const SweepPoint& p : of.points) {
      if (!p.plan) continue;
      const double x = static_cast<double>(p.limit_bytes) / scale.bytes;
      predicted.points.push_back({x, shown(metric, predicted_speeds(p))});
      if (const auto speeds = measured_speeds(p)) {
        measured.points.push_back({x, shown(metric, *speeds)});
      }
    }
    chart.series.push_back(std::move(predicted));
    chart.series.push_back(std::move(measured));
    chart.markers.push_back(
        {static_cast<double>(of.everything_bytes) / scale.bytes,
         text(alone ? "" : of.name + ", ", "everything fits: ", print_bytes(of.everything_bytes)),
         alone ? palette::kSoftInk : colour});
  }
  if (!alone && sweep.measured) {
    chart.series.push_back({.name = "predicted", .points = {}, .colour = palette::kSoftInk});
    chart.series.push_back({.name = "measured",
                            .points = {},
                            .colour = palette::kSoftInk,
                            .line = false,
                            .marks = true});
  }
  return draw_chart(chart);
}

}  // namespace sluice
