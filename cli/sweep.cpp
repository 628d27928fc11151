#include "cli/sweep.h"

#include <algorithm>
#include <deque>
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

// Of units that the host computes in a decode pass.
std::size_t host_bytes(const ModelLayout& layout, const Plan& plan) {
  const std::size_t route = plan.route_of(plan.workload.sequences);
  std::size_t bytes = 0;
  for (std::size_t unit = 0; unit < layout.units.size(); ++unit) {
    const bool by_host = is_outside(plan.placement[unit]) && plan.by_host(unit, route);
    if (by_host) bytes += layout.units[unit].size_bytes;
  }
  return bytes;
}

// A model in one type of weights, and what it would run on.
struct Subject {
  Subject(const SweepOptions& options, const std::string& weights)
      : planned(options.on.model, weights),
        target(choose_target(with_vram(options, "unlimited"), planned.model().layout)) {}

  const OpenModel& model() const { return planned.model(); }

  static PlacementOptions with_vram(const SweepOptions& options, const std::string& vram) {
    PlacementOptions on = options.on;
    on.vram = vram;
    return on;
  }

  PlannedModel planned;
  Target target;
  Hardware hardware;
};

// What each line has to be told by: the axis that has several values.
std::string name_of(std::size_t contexts, std::size_t types, const SweepSeries& series) {
  const Workload& w = series.workload;
  if (types > 1) return series.weights;
  if (contexts > 1) return text("context of ", w.context_tokens, " tokens");
  return text(w.sequences, w.sequences == 1 ? " sequence" : " sequences");
}

class Sweeper {
 public:
  Sweeper(const SweepOptions& options, const std::atomic<bool>& stop)
      : options_(options),
        stop_(stop),
        limits_(parse_sweep_sizes(options.on.vram, "--vram")),
        contexts_(contexts(options)),
        sequences_(parse_sweep_counts(options.sequences, "--sequences", kMostSequences)),
        weights_(parse_sweep_names(options.weights, "--weights")) {
    const auto several = {contexts_.size(), sequences_.size(), weights_.size()};
    if (std::ranges::count_if(several, [](std::size_t values) { return values > 1; }) > 1) {
      throw Error(ErrorKind::kUsage,
                  "of --ctx, --sequences and --weights more than one has several values; sweep "
                  "over one at a time");
    }
    for (const std::string& weights : weights_) add_subject(weights);
    const Target& target = subjects_.front().target;
    sweep_.model = file_name(options.on.model);
    sweep_.device = target.planned ? target.planned->describe() : target.gpu ? "cuda" : "sim";
    sweep_.link = options.on.link;
    sweep_.measured = options.measure;
    sweep_.units = subjects_.front().model().layout.units.size();
    // A GPU's memory is taken once: each measurement opens it anew.
    for (Subject& subject : subjects_) subject.target.gpu.reset();
  }

  // Prints the table's rows as they come. False: interrupted, and the sweep is what there was.
  bool run() {
    std::cout << print_sweep_head(sweep_);
    for (std::size_t i = 0; i < subjects_.size(); ++i) {
      for (const std::size_t context : contexts_) {
        for (const std::size_t sequences : sequences_) {
          if (!run_series(subjects_[i], weights_[i], context, sequences)) return false;
        }
      }
    }
    return true;
  }
  const Sweep& sweep() const { return sweep_; }

 private:
  void add_subject(const std::string& weights) {
    Subject& subject = subjects_.emplace_back(options_, weights);
    if (options_.measure && (subject.target.planned || subject.planned.is_shape())) {
      throw Error(
          ErrorKind::kUsage,
          "--measure needs a model file and a device that are there; leave out --gpu NAME, or "
          "write a shape's file with sluice synth");
    }
    if (subject.target.in_place) {
      throw Error(ErrorKind::kUsage,
                  "sweep: the cpu device has no limit to sweep over; use --device sim");
    }
    subject.hardware = hardware_for(subject.model(), subject.target);
  }

  // False: interrupted.
  bool run_series(const Subject& subject, const std::string& weights, std::size_t context,
                  std::size_t sequences) {
    SweepSeries series{.weights = subject.planned.is_shape() && weights.empty()
                                      ? std::string(kDefaultPlanWeights)
                                      : weights,
                       .weights_bytes = subject.model().layout.units_bytes(),
                       .workload = {.sequences = sequences,
                                    .prompt_tokens = options_.prompt_tokens,
                                    .max_tokens = options_.max_tokens,
                                    .context_tokens = context}};
    series.name = name_of(contexts_.size(), weights_.size(), series);
    series.everything_bytes = everything_bytes(subject, series.workload);
    if (contexts_.size() * sequences_.size() * weights_.size() > 1) {
      std::cout << series.name << '\n';
    }
    bool all = true;
    try {
      for (const std::size_t limit : limits_) add_point(subject, series, limit);
      std::cout << print_sweep_foot(series);
    } catch (const Interrupted&) {
      all = false;
    }
    if (!series.points.empty()) sweep_.series.push_back(std::move(series));
    return all;
  }

  std::size_t everything_bytes(const Subject& subject, const Workload& workload) const {
    PlanLimits limits = subject.target.limits;
    limits.device_bytes.reset();
    const Workload least = least_workload(workload, options_.goal);
    return make_plan(subject.model().layout, least, limits, subject.hardware).bytes.total();
  }

  // A GPU may have less free than a limit says: then nothing can be measured.
  std::optional<Target> target_to_measure(const Subject& subject, std::size_t limit_bytes) const {
    if (!options_.measure) return std::nullopt;
    if (!subject.target.limits.gpu) return subject.target;
    try {
      return choose_target(Subject::with_vram(options_, std::to_string(limit_bytes)),
                           subject.model().layout);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kOverBudget) throw;
      return std::nullopt;
    }
  }

  void add_point(const Subject& subject, SweepSeries& series, std::size_t limit_bytes) const {
    if (stop_.load()) throw Interrupted{};
    const SweepPoint* before = series.points.empty() ? nullptr : &series.points.back();
    series.points.push_back(point(subject, series.workload, limit_bytes, before));
    std::cout << print_sweep_row(sweep_, series.points.back()) << std::flush;
  }

  static double workload_seconds(const SweepPoint& point) {
    const Prediction& p = point.plan->predicted;
    return static_cast<double>(point.rounds) * p.seconds();
  }

  SweepPoint point(const Subject& subject, const Workload& workload, std::size_t limit_bytes,
                   const SweepPoint* before) const {
    const ModelLayout& layout = subject.model().layout;
    const std::optional<Target> measured = target_to_measure(subject, limit_bytes);
    PlanLimits limits = measured ? measured->limits : subject.target.limits;
    limits.device_bytes = limit_bytes;
    SweepPoint point{.limit_bytes = limit_bytes};
    point.smallest_bytes =
        smallest_limit_bytes(layout, least_workload(workload, options_.goal), limits);
    if (point.smallest_bytes > limit_bytes) return point;
    const BatchPlan batch =
        make_batch_plan(layout, workload, limits, subject.hardware, options_.goal);
    point.plan = batch.plan;
    point.rounds = batch.rounds;
    // A plan that keeps a smaller limit keeps this one too.
    if (before != nullptr && before->plan && before->limit_bytes < limit_bytes &&
        workload_seconds(*before) < (1.0 - 1e-6) * workload_seconds(point)) {
      point.plan = before->plan;
      point.rounds = before->rounds;
      point.plan->limit_bytes = limit_bytes;
    }
    const Plan& plan = *point.plan;
    point.streamed_bytes = plan.streamed_bytes(layout, plan.workload.sequences);
    point.host_bytes = host_bytes(layout, plan);
    const PassPredictor predictor(layout, plan, subject.hardware);
    const Timeline decode = predictor.pass(decode_pass_size(plan));
    point.bound_by = &busiest_lane(lane_seconds(decode.entries, decode.passes.front().span));
    if (measured) {
      point.measured = measure_plan(subject.model(), plan, *measured, options_.repeats, &stop_);
    }
    return point;
  }

  const SweepOptions& options_;
  const std::atomic<bool>& stop_;
  const std::vector<std::size_t> limits_;
  const std::vector<std::size_t> contexts_;
  const std::vector<std::size_t> sequences_;
  const std::vector<std::string> weights_;
  std::deque<Subject> subjects_;  // [weights]
  Sweep sweep_;
};

}  // namespace

int sweep_command(const SweepOptions& options) {
  const std::atomic<bool>& interrupted = interrupt_on_ctrl_c();
  Sweeper sweeper(options, interrupted);
  const int exit_code = sweeper.run() ? 0 : kExitInterrupted;
  const Sweep& sweep = sweeper.sweep();
  if (sweep.series.empty()) return exit_code;
  if (!options.csv_file.empty()) write_file(options.csv_file, print_sweep_csv(sweep));
  if (!options.json_file.empty()) write_file(options.json_file, print_sweep_json(sweep));
  if (!options.svg_file.empty()) write_file(options.svg_file, draw_sweep(sweep, options.metric));
  return exit_code;
}

}  // namespace sluice
