#include "cli/sweep.h"

#include <iostream>

#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output_file.h"
#include "cli/planned_model.h"
#include "cli/sweep_axes.h"
#include "cli/sweep_report.h"
#include "cli/timeline.h"
#include "memory/error.h"

namespace sluice {
namespace {

constexpr std::size_t kMostSequences = 4096;
constexpr std::size_t kMostContextTokens = std::size_t{1} << 24;

std::vector<std::size_t> contexts(const SweepOptions& options) {
  const std::size_t wanted = options.prompt_tokens + options.max_tokens;
  if (options.context_tokens.empty()) return {wanted};
  const auto values = parse_sweep_counts(options.context_tokens, "--ctx", kMostContextTokens);
  if (values.front() < wanted) {
    throw Error(ErrorKind::kUsage,
                text("--ctx ", values.front(), ": prompt and reply have ", wanted,
                     " tokens; give that much or lower --prompt-tokens or --max-tokens"));
  }
  return values;
}

// One series for each value of the axis that has several.
std::vector<SweepSeries> make_series(const SweepOptions& options) {
  const std::vector<std::size_t> context_values = contexts(options);
  const auto sequence_values = parse_sweep_counts(options.sequences, "--sequences", kMostSequences);
  if (context_values.size() > 1 && sequence_values.size() > 1) {
    throw Error(ErrorKind::kUsage,
                "--ctx and --sequences both have several values; sweep over one at a time");
  }
  std::vector<SweepSeries> all;
  for (const std::size_t context : context_values) {
    for (const std::size_t sequences : sequence_values) {
      SweepSeries series;
      series.name = context_values.size() > 1
                        ? text("context of ", context, " tokens")
                        : text(sequences, sequences == 1 ? " sequence" : " sequences");
      series.workload = {.sequences = sequences,
                         .prompt_tokens = options.prompt_tokens,
                         .max_tokens = options.max_tokens,
                         .context_tokens = context};
      all.push_back(std::move(series));
    }
  }
  return all;
}

class Sweeper {
 public:
  Sweeper(const SweepOptions& options, const PlannedModel& planned, const std::atomic<bool>& stop)
      : options_(options),
        model_(planned.model()),
        stop_(stop),
        limits_(parse_sweep_sizes(options.on.vram, "--vram")),
        target_(choose_target(with_vram("unlimited"), model_.layout)) {
    if (options.measure && (target_.planned || planned.is_shape())) {
      throw Error(
          ErrorKind::kUsage,
          "--measure needs a model file and a device that are there; leave out --gpu NAME, or "
          "write a shape's file with sluice synth");
    }
    sweep_.series = make_series(options);
    if (target_.in_place) {
      throw Error(ErrorKind::kUsage,
                  "sweep: the cpu device has no limit to sweep over; use --device sim");
    }
    hardware_ = hardware_for(model_, target_);
    sweep_.model = file_name(options.on.model);
    sweep_.device = target_.planned          ? target_.planned->describe()
                    : target_.gpu != nullptr ? "cuda"
                                             : "sim";
    sweep_.link = options.on.link;
    sweep_.measured = options.measure;
    sweep_.units = model_.layout.units.size();
    sweep_.weights_bytes = model_.layout.units_bytes();
    target_.gpu.reset();  // a GPU's memory is taken once: each measurement opens it anew
  }

  // Prints the table's rows as they come. False: interrupted, and the sweep is what there was.
  bool run() {
    std::cout << print_sweep_head(sweep_);
    for (auto series = sweep_.series.begin(); series != sweep_.series.end(); ++series) {
      series->everything_bytes = everything_bytes(series->workload);
      if (sweep_.series.size() > 1) std::cout << series->name << '\n';
      try {
        for (const std::size_t limit : limits_) add_point(*series, limit);
      } catch (const Interrupted&) {
        sweep_.series.erase(series->points.empty() ? series : series + 1, sweep_.series.end());
        return false;
      }
      std::cout << print_sweep_foot(*series);
    }
    return true;
  }
  const Sweep& sweep() const { return sweep_; }

 private:
  PlacementOptions with_vram(const std::string& vram) const {
    PlacementOptions on = options_.on;
    on.vram = vram;
    return on;
  }

  std::size_t everything_bytes(const Workload& workload) const {
    PlanLimits limits = target_.limits;
    limits.device_bytes.reset();
    const Workload least = least_workload(workload, options_.goal);
    return make_plan(model_.layout, least, limits, hardware_).bytes.total();
  }

  // A GPU may have less free than a limit says: then nothing can be measured.
  std::optional<Target> target_to_measure(std::size_t limit_bytes) const {
    if (!options_.measure) return std::nullopt;
    if (!target_.limits.gpu) return target_;
    try {
      return choose_target(with_vram(std::to_string(limit_bytes)), model_.layout);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kOverBudget) throw;
      return std::nullopt;
    }
  }

  void add_point(SweepSeries& series, std::size_t limit_bytes) const {
    if (stop_.load()) throw Interrupted{};
    const SweepPoint* before = series.points.empty() ? nullptr : &series.points.back();
    series.points.push_back(point(series.workload, limit_bytes, before));
    std::cout << print_sweep_row(sweep_, series.points.back()) << std::flush;
  }

  static double workload_seconds(const SweepPoint& point) {
    const Prediction& p = point.plan->predicted;
    return static_cast<double>(point.rounds) * p.seconds();
  }

  SweepPoint point(const Workload& workload, std::size_t limit_bytes,
                   const SweepPoint* before) const {
    const std::optional<Target> measured = target_to_measure(limit_bytes);
    PlanLimits limits = measured ? measured->limits : target_.limits;
    limits.device_bytes = limit_bytes;
    SweepPoint point{.limit_bytes = limit_bytes};
    point.smallest_bytes =
        smallest_limit_bytes(model_.layout, least_workload(workload, options_.goal), limits);
    if (point.smallest_bytes > limit_bytes) return point;
    const BatchPlan batch =
        make_batch_plan(model_.layout, workload, limits, hardware_, options_.goal);
    point.plan = batch.plan;
    point.rounds = batch.rounds;
    // A plan that keeps a smaller limit keeps this one too.
    if (before != nullptr && before->plan && before->limit_bytes < limit_bytes &&
        workload_seconds(*before) < (1.0 - 1e-6) * workload_seconds(point)) {
      point.plan = before->plan;
      point.rounds = before->rounds;
      point.plan->limit_bytes = limit_bytes;
    }
    const PassPredictor predictor(model_.layout, *point.plan, hardware_);
    const Timeline decode = predictor.pass(decode_pass_size(*point.plan));
    point.bound_by = &busiest_lane(lane_seconds(decode.entries, decode.passes.front().span));
    if (measured) {
      point.measured = measure_plan(model_, *point.plan, *measured, options_.repeats, &stop_);
    }
    return point;
  }

  const SweepOptions& options_;
  const OpenModel& model_;
  const std::atomic<bool>& stop_;
  const std::vector<std::size_t> limits_;
  Target target_;
  Hardware hardware_;
  Sweep sweep_;
};

}  // namespace

int sweep_command(const SweepOptions& options) {
  const std::atomic<bool>& interrupted = interrupt_on_ctrl_c();
  const PlannedModel planned(options.on.model, options.weights);
  const OpenModel& model = planned.model();
  Sweeper sweeper(options, planned, interrupted);
  const int exit_code = sweeper.run() ? 0 : kExitInterrupted;
  const Sweep& sweep = sweeper.sweep();
  if (sweep.series.empty()) return exit_code;
  if (!options.csv_file.empty()) write_file(options.csv_file, print_sweep_csv(sweep, model.layout));
  if (!options.json_file.empty()) {
    write_file(options.json_file, print_sweep_json(sweep, model.layout));
  }
  if (!options.svg_file.empty()) write_file(options.svg_file, draw_sweep(sweep, options.metric));
  return exit_code;
}

}  // namespace sluice
