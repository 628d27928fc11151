#include "cli/trace_report.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "memory/error.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kPassThread = 0;  // above the lanes
int thread_of(std::size_t row) {
  return static_cast<int>(row) + 1;
}

Json metadata(const char* what, int process, int thread, const char* key, const Json& value) {
  return {{"name", what}, {"ph", "M"}, {"pid", process}, {"tid", thread}, {"args", {{key, value}}}};
}

Json span_event(const std::string& name, int process, int thread, const Span& span, Json details) {
  return {{"name", name},
          {"ph", "X"},
          {"pid", process},
          {"tid", thread},
          {"ts", span.begin_seconds * 1e6},
          {"dur", (span.end_seconds - span.begin_seconds) * 1e6},
          {"args", std::move(details)}};
}

void add_process(Json& events, int process, const char* name) {
  events.push_back(metadata("process_name", process, 0, "name", name));
  events.push_back(metadata("process_sort_index", process, 0, "sort_index", process));
  events.push_back(metadata("thread_name", process, kPassThread, "name", "passes"));
  for (std::size_t row = 0; row < kLanes.size(); ++row) {
    const int thread = thread_of(row);
    events.push_back(metadata("thread_name", process, thread, "name", kLanes[row].name));
    events.push_back(metadata("thread_sort_index", process, thread, "sort_index", thread));
  }
}

void add_spans(Json& events, const PassPredictor& predictor, int process, const Timeline& timeline,
               double zero_seconds) {
  const auto from_zero = [&](const Span& s) {
    return Span{s.begin_seconds - zero_seconds, s.end_seconds - zero_seconds};
  };
  for (const TracedPass& pass : timeline.passes) {
    const PassSize& size = pass.size;
    events.push_back(span_event(text(size.tokens, size.tokens == 1 ? " token" : " tokens"), process,
                                kPassThread, from_zero(pass.span),
                                {{"tokens", size.tokens},
                                 {"sequences", size.sequences},
                                 {"keys", size.keys},
                                 {"logits", size.rows}}));
  }
  for (const TraceEntry& e : timeline.entries) {
    const auto* row = std::ranges::find(kLanes, e.lane, &LaneInfo::lane);
    Json details = {{"piece", e.piece}};
    if (e.lane != Lane::kLinkDown) details["bytes"] = predictor.piece(e).size_bytes;
    events.push_back(span_event(predictor.name(e), process,
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
  Json events = Json::array();
  int process = 0;
  for (const auto& [name, timeline] :
       {std::pair{"measured", &measured}, std::pair{"predicted", &predicted}}) {
    add_process(events, ++process, name);
    add_spans(events, predictor, process, *timeline, zero);
  }
  return Json{{"traceEvents", events}, {"displayTimeUnit", "ms"}}.dump() + "\n";
}

}  // namespace sluice
