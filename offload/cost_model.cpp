#include "offload/cost_model.h"

#include <algorithm>
#include <span>

#include "memory/units.h"
#include "offload/replay.h"

namespace sluice {
namespace {

std::vector<Step> steps_of(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                           const PassSize& size) {
  return pass_steps(model, plan, schedule, plan.route_of(size.tokens), size.rows > 0);
}

// Prompts' passes, after a rest. While one is computed the next is laid out. Of many alike the
// first ones are replayed, and the others take as long as the last of these.
double prefill_seconds(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                       const Hardware& hardware, std::span<const PassCount> all) {
  constexpr std::size_t kReplayed = 2;
  Replay replay(model, plan, schedule, hardware);
  replay.idle();
  const double begin = replay.now_seconds();
  double more_seconds = 0.0;
  double between_seconds = 0.0;
  for (const auto& [size, count] : all) {
    if (count == 0) continue;
    if (between_seconds == 0.0) between_seconds = between_calls_seconds(hardware, size.tokens);
    const std::vector<Step> steps = steps_of(model, plan, schedule, size);
    const PieceTable pieces = predict_pieces(model, plan, schedule, hardware, size);
    double before = begin;
    const std::size_t replayed = std::min(count, kReplayed);
    for (std::size_t i = 0; i < replayed; ++i) {
      before = replay.now_seconds();
      replay.pass(steps, size, pieces, before > begin ? 0.0 : between_seconds);
    }
    more_seconds += static_cast<double>(count - replayed) * (replay.now_seconds() - before);
  }
  return replay.now_seconds() - begin + more_seconds;
}

}  // namespace

double between_calls_seconds(const Hardware& hardware, std::size_t tokens) {
  return hardware.pass_seconds + hardware.token_seconds * static_cast<double>(tokens);
}

WorkloadPasses passes_of(const Workload& w, std::size_t segment_tokens) {
  const std::size_t prompt = std::max<std::size_t>(w.prompt_tokens, 1);
  const std::size_t total = prompt * w.sequences;
  const std::size_t segment = std::min(segment_tokens, total);
  const std::size_t before_last = ceil_div(total, segment) - 1;
  const std::size_t last = total - before_last * segment;
  const std::size_t at_once = std::min(w.sequences, ceil_div(segment, prompt));
  const std::size_t keys = prompt / 2 + 1;
  // Before the last pass some prompts end, and their logits are wanted there.
  const std::size_t ended = std::min(w.sequences - 1, before_last * segment / prompt);
  const std::size_t ending = w.all_logits ? before_last : std::min(before_last, ended);
  const std::size_t rows = ending == 0 ? 0 : w.all_logits ? segment : ceil_div(ended, ending);
  const std::size_t last_rows = w.all_logits ? last : std::min(w.sequences - ended, last);
  const std::size_t decoding = std::min(w.sequences, segment_tokens);
  const std::size_t generated = w.max_tokens > 0 ? w.max_tokens - 1 : 0;
  WorkloadPasses passes;
  passes.kinds[0] = {{segment, keys, 0, at_once}, before_last - ending};
  passes.kinds[1] = {{segment, keys, rows, at_once}, ending};
  passes.kinds[2] = {{last, keys, last_rows, at_once}, 1};
  passes.kinds[3] = {{decoding, w.prompt_tokens + w.max_tokens / 2, decoding, decoding},
                     ceil_div(w.sequences, decoding) * generated};
  return passes;
}

PassSize decode_pass_size(const Plan& plan) {
  return passes_of(plan.workload, plan.segment_tokens).decode().size;
}

double predict_pass_seconds(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                            const Hardware& hardware, PassSize size,
                            std::vector<TraceEntry>* spans) {
  return predict_pass_seconds(model, plan, schedule, hardware, size,
                              predict_pieces(model, plan, schedule, hardware, size), spans);
}

// Two passes, of which the second begins with the slots as any pass finds them.
double predict_pass_seconds(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                            const Hardware& hardware, PassSize size, const PieceTable& pieces,
                            std::vector<TraceEntry>* spans) {
  const std::vector<Step> steps = steps_of(model, plan, schedule, size);
  const double between = between_calls_seconds(hardware, size.tokens);
  Replay replay(model, plan, schedule, hardware, spans);
  replay.pass(steps, size, pieces, between);
  const double begin = replay.now_seconds();
  replay.pass(steps, size, pieces, between);
  if (spans != nullptr) {
    const double first_step = begin + between;
    std::erase_if(*spans, [&](const TraceEntry& e) { return e.span.end_seconds <= first_step; });
    for (TraceEntry& entry : *spans) {
      entry.span.begin_seconds -= first_step;
      entry.span.end_seconds -= first_step;
    }
  }
  return replay.now_seconds() - begin;
}

Prediction predict(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                   const Hardware& hardware) {
  const WorkloadPasses passes = passes_of(plan.workload, plan.segment_tokens);
  const PassSize& decode = passes.decode().size;
  const double one = predict_pass_seconds(model, plan, schedule, hardware, decode);
  Prediction p;
  p.prefill_seconds = prefill_seconds(model, plan, schedule, hardware,
                                      std::span(passes.kinds).first(WorkloadPasses::kKinds - 1));
  p.decode_pass_seconds =
      one * static_cast<double>(ceil_div(plan.workload.sequences, decode.tokens));
  p.decode_seconds = one * static_cast<double>(passes.decode().count);
  p.link_bytes_per_pass = static_cast<double>(plan.streamed_bytes(model, decode.tokens));
  if (!plan.host_attends(plan.route_of(decode.tokens))) {
    const CacheTraffic traffic = cache_traffic(plan.host_kv, hardware, decode);
    p.link_bytes_per_pass += static_cast<double>(plan.host_kv.layers * traffic.before_bytes);
  }
  return p;
}

}  // namespace sluice
