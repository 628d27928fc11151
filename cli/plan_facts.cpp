#include "cli/plan_facts.h"

#include <algorithm>

#include "cli/format.h"
#include "memory/error.h"
#include "memory/units.h"

namespace sluice {
namespace {

BusiestLane busiest_in(const PassPredictor& predictor, const PassSize& size) {
  const Timeline pass = predictor.pass(size);
  const Span& span = pass.passes.front().span;
  const LaneSeconds seconds = lane_seconds(pass.entries, span);
  const LaneInfo& lane = busiest_lane(seconds);
  return {&lane, seconds[static_cast<std::size_t>(lane.lane)] / span.end_seconds};
}

// Of tokens a second.
std::string speed(double value) {
  return format(value < 9.995 ? "%.2f" : "%.1f", value);
}

double prefill_speed(const Plan& plan) {
  const Workload& w = plan.workload;
  return static_cast<double>(w.prompt_tokens * w.sequences) / plan.predicted.prefill_seconds;
}

double decode_speed(const Plan& plan) {
  return static_cast<double>(plan.workload.sequences) / plan.predicted.decode_pass_seconds;
}

std::string line(const std::string& what, const std::string& told) {
  return format("  %-16s", what.c_str()) + told + "\n";
}

std::string print_routes(const Plan& plan) {
  std::string out;
  for (const Route& route : plan.routes) {
    if (!route.takes_units()) continue;
    const auto units = std::ranges::count(route.by_host, true);
    out += out.empty() ? text(units, " units in passes of up to ", route.tokens, " tokens")
                       : text(", ", units, " up to ", route.tokens);
  }
  if (!out.empty()) out = line("host computes", out);
  if (plan.host_kv.layers == 0) return out;
  const std::size_t tokens = plan.host_attended_tokens();
  if (tokens > 0) {
    const std::string passes =
        plan.cache_slots == 0 ? "" : text(", in passes of up to ", tokens, " tokens");
    out += line("host attends", text(plan.host_kv.layers, " of ",
                                     plan.kv.layers + plan.host_kv.layers, " layers", passes));
  }
  return out;
}

std::string print_goal(const PlanFacts& facts) {
  const BatchPlan& batch = facts.batch;
  const Workload& w = batch.plan.workload;
  if (facts.goal == Goal::kThroughput) {
    return line("for throughput",
                text(batch.sequences, batch.sequences == 1 ? " sequence, " : " sequences, ",
                     batch.at_once(), " at once in ", batch.rounds,
                     batch.rounds == 1 ? " round" : " rounds") +
                    format(": %.3f s, %s tokens/s with prompts", batch.seconds(),
                           speed(batch.tokens_per_second()).c_str()));
  }
  return line("for latency", format("%.3f s for a reply of %zu tokens after %zu, %zu at once",
                                    batch.seconds(), w.max_tokens, w.prompt_tokens, w.sequences));
}

std::string print_change(const PlanFacts& facts, const BatchPlan& other) {
  const auto change = [](const char* name, double from, double to) {
    return speed(from) == speed(to) ? text(name, " the same")
                                    : text(name, " ", speed(from), " -> ", speed(to), " tokens/s");
  };
  const Plan& plan = facts.batch.plan;
  std::string out = change("decode", decode_speed(plan), decode_speed(other.plan)) + ", " +
                    change("prefill", prefill_speed(plan), prefill_speed(other.plan));
  if (facts.goal == Goal::kThroughput) {
    out += ", " + change("in all", facts.batch.tokens_per_second(), other.tokens_per_second());
    if (other.at_once() != facts.batch.at_once()) out += text(", ", other.at_once(), " at once");
  }
  return out;
}

std::string print_what_if(const PlanFacts& facts) {
  const WhatIf& what = facts.what_if;
  std::string out;
  if (what.more) {
    const std::string step = print_bytes(what.step_bytes);
    out += line(step + " more", print_change(facts, *what.more));
    out += line(step + " less", what.less ? print_change(facts, *what.less) : "too small");
  }
  if (what.runner_up) {
    const Plan& plan = what.runner_up->plan;
    const bool alike = plan.kv.type == facts.batch.plan.kv.type;
    const std::string kv = alike ? "" : text(", keys and values in ", kv_type_name(plan.kv.type));
    out += line("runner-up", text(describe_kind(plan), kv, ": decode ", speed(decode_speed(plan)),
                                  " tokens/s, prefill ", speed(prefill_speed(plan))));
  }
  return out;
}

}  // namespace

std::string describe_kind(const Plan& plan) {
  std::string segments = text("segments of ", plan.segment_tokens, " tokens");
  if (plan.host_kv.layers > 0) {
    const std::size_t layers = plan.host_kv.layers;
    segments += text(", ", layers, layers == 1 ? " layer" : " layers",
                     plan.cache_slots > 0 ? " with caches in host memory, streamed for prompts"
                                          : " attended by the host");
  }
  if (plan.slots == 0) return text("nothing streamed, ", segments);
  const std::size_t by_host = plan.host_units(plan.workload.sequences);
  return text(
      plan.slots, plan.slots == 1 ? " slot of " : " slots of ", print_bytes(plan.slot_bytes), ", ",
      segments, ", ",
      by_host == 0 ? std::string("all streamed") : text(by_host, " units computed by the host"));
}

PlanFacts gather_facts(const ModelLayout& layout, const Workload& workload,
                       const PlanLimits& limits, const Hardware& hardware, Goal goal) {
  PlanFacts facts{.goal = goal,
                  .device_from = hardware.device_from,
                  .batch = make_batch_plan(layout, workload, limits, hardware, goal)};
  const Plan& plan = facts.batch.plan;
  const PassPredictor predictor(layout, plan, hardware);
  const WorkloadPasses passes = passes_of(plan.workload, plan.segment_tokens);
  const auto prompt = std::ranges::find_if(passes.kinds, [](auto& p) { return p.count > 0; });
  facts.prefill = busiest_in(predictor, prompt->size);
  facts.decode = busiest_in(predictor, passes.decode().size);
  if (!limits.in_place) {
    facts.smallest_bytes = smallest_limit_bytes(layout, least_workload(workload, goal), limits);
  }
  facts.what_if = make_what_if(layout, workload, limits, hardware, goal, facts.batch);
  return facts;
}

std::string print_facts(const PlanFacts& facts) {
  const auto bound = [](const char* phase, const BusiestLane& busiest) {
    return text(phase, " by ", busiest.lane->name, ", ") +
           format("%.0f %% busy", 100.0 * busiest.share);
  };
  std::string out =
      line("bound", bound("prefill", facts.prefill) + "; " + bound("decode", facts.decode));
  out += print_routes(facts.batch.plan) + print_goal(facts) + print_what_if(facts);
  if (facts.smallest_bytes > 0) {
    out += text("smallest limit that works: ", facts.smallest_bytes, " bytes (",
                print_bytes(facts.smallest_bytes), ")\n");
  }
  return out;
}

}  // namespace sluice
