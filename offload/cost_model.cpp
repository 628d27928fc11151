#include "offload/cost_model.h"

#include <algorithm>

#include "memory/packed.h"
#include "memory/units.h"

namespace sluice {
namespace {

double transfer_seconds(const LinkSpeed& link, std::size_t bytes) {
  return link.latency_seconds + static_cast<double>(bytes) / link.bytes_per_second;
}

double attention_seconds(const ModelLayout& model, const ComputeRates& hardware, PassSize size) {
  const ModelConfig& c = model.config;
  const double products = 4.0 * static_cast<double>(size.tokens) * static_cast<double>(size.keys) *
                          static_cast<double>(c.query_width());
  return products / hardware.attention_operations_per_second;
}

// Norms, rotations, activations and quantising, around the matrix that ends here.
double between_seconds(const ModelLayout& model, const ComputeRates& hardware, MatrixRole role,
                       PassSize size) {
  const ModelConfig& c = model.config;
  const double tokens = static_cast<double>(size.tokens);
  switch (role) {
    case MatrixRole::kValue:
      return hardware.element_seconds * tokens *
                 static_cast<double>(c.width + 2 * c.query_width() + 2 * c.kv_width()) +
             attention_seconds(model, hardware, size) + 3 * hardware.step_seconds;
    case MatrixRole::kUp:
      return hardware.element_seconds * tokens * static_cast<double>(c.width + 2 * c.feed_forward) +
             2 * hardware.step_seconds;
    case MatrixRole::kHead:
      return hardware.element_seconds * static_cast<double>(size.rows * c.width) +
             hardware.step_seconds;
    default:
      return 0.0;
  }
}

}  // namespace

double predict_piece_seconds(const ModelLayout& model, const ComputeRates& hardware,
                             const Piece& piece, PassSize size) {
  const UnitInfo& unit = model.units[piece.unit];
  const std::size_t rows = unit.kind == UnitKind::kHead ? size.rows : size.tokens;
  double seconds = 0.0;
  for (const PanelRange& range : piece.ranges) {
    const MatrixInfo& matrix = unit.matrices[range.matrix];
    const ProductRate& rate = hardware.products[static_cast<std::size_t>(matrix.type())];
    const double bytes =
        static_cast<double>(range.panels * panel_bytes(matrix.type(), matrix.columns()));
    const double operations = 2.0 * static_cast<double>(range.panels * kPanelRows) *
                              static_cast<double>(matrix.columns() * rows);
    seconds += std::max(bytes / rate.bytes_per_second, operations / rate.operations_per_second) +
               hardware.step_seconds;
    const std::size_t panels = ceil_div(matrix.rows(), kPanelRows);
    if (range.first_panel + range.panels == panels) {
      seconds += between_seconds(model, hardware, matrix.role, size);
    }
  }
  return seconds;
}

double predict_pass_seconds(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                            const Hardware& hardware, PassSize size) {
  std::vector<double> piece_seconds(schedule.pieces.size());
  for (std::size_t p = 0; p < piece_seconds.size(); ++p) {
    piece_seconds[p] = predict_piece_seconds(model, hardware, schedule.pieces[p], size);
  }
  const std::size_t slots = std::max<std::size_t>(plan.slots, 1);
  std::vector<double> ready(slots, 0.0);
  std::vector<double> free(slots, 0.0);
  std::size_t sent = 0;
  std::size_t taken = 0;
  double link = 0.0;
  double compute = 0.0;
  const auto play = [&](const std::vector<Step>& steps) {
    for (const Step& step : steps) {
      switch (step.kind) {
        case StepKind::kInput:
          compute += transfer_seconds(hardware.to_device,
                                      size.tokens * model.config.width * sizeof(float));
          break;
        case StepKind::kCopy: {
          const std::size_t slot = sent++ % slots;
          link = std::max(link, free[slot]) +
                 transfer_seconds(hardware.to_device, schedule.pieces[step.piece].size_bytes);
          ready[slot] = link;
          break;
        }
        case StepKind::kCompute:
          if (schedule.streamed[step.piece]) {
            const std::size_t slot = taken++ % slots;
            compute = std::max(compute, ready[slot]) + piece_seconds[step.piece];
            free[slot] = compute;
          } else {
            compute += piece_seconds[step.piece];
          }
          break;
        case StepKind::kHost: {
          const std::size_t bytes = size.tokens * model.config.width * sizeof(float);
          compute += transfer_seconds(hardware.to_host, bytes) +
                     transfer_seconds(hardware.to_device, bytes);
          const std::size_t unit = schedule.pieces[step.piece].unit;
          for (std::size_t p = step.piece;
               p < schedule.pieces.size() && schedule.pieces[p].unit == unit; ++p) {
            compute += predict_piece_seconds(model, hardware.host, schedule.pieces[p], size);
          }
          break;
        }
        case StepKind::kLogits:
          // And the host looks through them for the next tokens.
          compute +=
              transfer_seconds(hardware.to_host, size.rows * model.config.vocab * sizeof(float)) +
              hardware.element_seconds * static_cast<double>(size.rows * model.config.vocab);
          break;
      }
    }
  };
  const std::vector<Step>& steps = schedule.pass(size.rows > 0, plan.host_computes(size.tokens));
  // Two passes, of which the second begins with the slots as any pass finds them.
  play(schedule.prologue);
  play(steps);
  const double first_seconds = compute;
  play(steps);
  return compute - first_seconds;
}

Prediction predict(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                   const Hardware& hardware) {
  const Workload& w = plan.workload;
  const std::size_t prompt_total = std::max<std::size_t>(w.prompt_tokens * w.sequences, 1);
  const std::size_t segment = std::min(plan.segment_tokens, prompt_total);
  const std::size_t passes = ceil_div(prompt_total, segment);
  const PassSize inner{segment, w.prompt_tokens / 2 + 1, w.all_logits ? segment : 0};
  const std::size_t last_tokens = prompt_total - (passes - 1) * segment;
  const std::size_t last_rows = w.all_logits ? last_tokens : std::min(w.sequences, last_tokens);
  const PassSize last{last_tokens, w.prompt_tokens / 2 + 1, last_rows};
  const std::size_t decode_tokens = std::min(w.sequences, plan.segment_tokens);
  const PassSize decode{decode_tokens, w.prompt_tokens + w.max_tokens / 2, decode_tokens};

  Prediction p;
  p.prefill_seconds = predict_pass_seconds(model, plan, schedule, hardware, last);
  if (passes > 1) {
    p.prefill_seconds += static_cast<double>(passes - 1) *
                         predict_pass_seconds(model, plan, schedule, hardware, inner);
  }
  p.decode_pass_seconds = predict_pass_seconds(model, plan, schedule, hardware, decode) *
                          static_cast<double>(ceil_div(w.sequences, decode_tokens));
  p.decode_seconds =
      p.decode_pass_seconds * static_cast<double>(w.max_tokens > 0 ? w.max_tokens - 1 : 0);
  p.link_bytes_per_pass = static_cast<double>(plan.streamed_bytes(model, decode_tokens));
  return p;
}

}  // namespace sluice
