#include "cli/trace_report.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "memory/error.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

// A long run has more events than should lie in memory as objects.
class EventList {
 public:
  void add(const Json& event) {
    out_ += out_.empty() ? "" : ",\n";
    out_ += event.dump();
  }
  std::string finish() const {
    return "{\"traceEvents\":[" + out_ + "],\"displayTimeUnit\":\"ms\"}\n";
  }

 private:
  std::string out_;
};

constexpr int kPassThread = 0;  // above the lanes
int thread_of(std::size_t row) {
  return static_cast<int>(row) + 1;
}

Json metadata(const char* what, int process, int thread, const char* key, const Json& value) {
  return {{"name", what}, {"ph", "M"}, {"pid", process}, {"tid", thread}, {"args", {{key, value}}}};
}

// In microseconds, to the nanosecond: where one span ends and the next begins stays one number.
Json span_event(const std::string& name, int process, int thread, const Span& span, Json details) {
  const auto begin_ns = static_cast<double>(std::llround(span.begin_seconds * 1e9));
  const auto end_ns = static_cast<double>(std::llround(span.end_seconds * 1e9));
  return {{"name", name},
          {"ph", "X"},
          {"pid", process},
          {"tid", thread},
          {"ts", begin_ns / 1e3},
          {"dur", (end_ns - begin_ns) / 1e3},
          {"args", std::move(details)}};
}

void add_process(EventList& events, int process, const char* name) {
  events.add(metadata("process_name", process, 0, "name", name));
  events.add(metadata("process_sort_index", process, 0, "sort_index", process));
  events.add(metadata("thread_name", process, kPassThread, "name", "passes"));
  for (std::size_t row = 0; row < kLanes.size(); ++row) {
    const int thread = thread_of(row);
    events.add(metadata("thread_name", process, thread, "name", kLanes[row].name));
    events.add(metadata("thread_sort_index", process, thread, "sort_index", thread));
  }
}

void add_spans(EventList& events, const PassPredictor& predictor, int process,
               const Timeline& timeline, double zero_seconds) {
  const auto from_zero = [&](const Span& s) {
    return Span{s.begin_seconds - zero_seconds, s.end_seconds - zero_seconds};
  };
  for (const TracedPass& pass : timeline.passes) {
    const PassSize& size = pass.size;
    events.add(span_event(text(size.tokens, size.tokens == 1 ? " token" : " tokens"), process,
                          kPassThread, from_zero(pass.span),
                          {{"tokens", size.tokens},
                           {"sequences", size.sequences},
                           {"keys", size.keys},
                           {"logits", size.rows}}));
  }
  for (const TraceEntry& e : timeline.entries) {
    const auto* row = std::ranges::find(kLanes, e.lane, &LaneInfo::lane);
    Json details = {{"piece", e.piece}};
    const Piece& piece = predictor.piece(e);
    const UnitInfo& unit = predictor.model().units[piece.unit];
    const bool by_host = e.lane == Lane::kHost && unit.kind != UnitKind::kAttention;
    if (by_host) details["bytes"] = unit.size_bytes;
    const bool weights = !e.cache && (e.lane == Lane::kCompute || e.lane == Lane::kLink);
    if (weights) details["bytes"] = piece.size_bytes;
    events.add(span_event(predictor.name(e), process,
                          thread_of(static_cast<std::size_t>(row - kLanes.begin())),
                          from_zero(e.span), std::move(details)));
  }
}

double first_begin(const Timeline& timeline) {
  double begin = std::numeric_limits<double>::infinity();
  for (const TracedPass& pass : timeline.passes) begin = std::min(begin, pass.span.begin_seconds);
  for (const TraceEntry& e : timeline.entries) begin = std::min(begin, e.span.begin_seconds);
  return begin;
}

}  // namespace

std::string print_trace(const PassPredictor& predictor, const Trace& trace) {
  const Timeline measured{trace.entries(), trace.passes()};
  const Timeline predicted = predictor.of(measured.passes);
  const double zero = std::min(first_begin(measured), first_begin(predicted));
  EventList events;
  int process = 0;
  for (const auto& [name, timeline] :
       {std::pair{"measured", &measured}, std::pair{"predicted", &predicted}}) {
    add_process(events, ++process, name);
    add_spans(events, predictor, process, *timeline, zero);
  }
  return events.finish();
}

}  // namespace sluice
