#include "offload/cost_model.h"

#include <algorithm>

#include "memory/packed.h"
#include "memory/units.h"

namespace sluice {
namespace {

double transfer_seconds(const LinkSpeed& link, std::size_t bytes) {
  return link.latency_seconds + static_cast<double>(bytes) / link.bytes_per_second;
}

double attention_seconds(const ModelLayout& model, const ComputeRates& rates, PassSize size) {
  const ModelConfig& c = model.config;
  const double products = 4.0 * static_cast<double>(size.tokens) * static_cast<double>(size.keys) *
                          static_cast<double>(c.query_width());
  return products / (size.tokens > size.sequences
                         ? rates.attention_operations_per_second
                         : rates.attention_one_token_operations_per_second);
}

// Norms, rotations, activations and quantising, around the matrix that ends here.
double between_seconds(const ModelLayout& model, const ComputeRates& rates, MatrixRole role,
                       PassSize size) {
  const ModelConfig& c = model.config;
  const double tokens = static_cast<double>(size.tokens);
  switch (role) {
    case MatrixRole::kValue:
      return rates.element_seconds * tokens *
                 static_cast<double>(c.width + 2 * c.query_width() + 2 * c.kv_width()) +
             attention_seconds(model, rates, size) + 3 * rates.step_seconds;
    case MatrixRole::kUp:
      return rates.element_seconds * tokens * static_cast<double>(c.width + 2 * c.feed_forward) +
             2 * rates.step_seconds;
    case MatrixRole::kHead:
      return rates.element_seconds * static_cast<double>(size.rows * c.width) + rates.step_seconds;
    default:
      return 0.0;
  }
}

// The clocks of a machine while passes of one size go by.
class Replay {
 public:
  Replay(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
         const Hardware& hardware, PassSize size, const PieceSeconds& pieces,
         std::vector<TraceEntry>* spans)
      : model_(model),
        schedule_(schedule),
        hardware_(hardware),
        size_(size),
        pieces_(pieces),
        spans_(spans),
        ready_(std::max<std::size_t>(plan.slots, 1), 0.0),
        free_(ready_.size(), 0.0),
        buffer_free_(std::max<std::size_t>(plan.disk_buffers, 1), 0.0) {}

  void play(const std::vector<Step>& steps) {
    for (const Step& step : steps) {
      switch (step.kind) {
        case StepKind::kInput:
          now_ = over_link(hardware_.to_device, size_.tokens * row_bytes());
          break;
        case StepKind::kCopy:
          copy(step.piece);
          break;
        case StepKind::kCompute:
          compute(step.piece);
          break;
        case StepKind::kHost:
          compute_by_host(step.piece);
          break;
        case StepKind::kLogits: {  // and the host looks through them for the next tokens
          const std::size_t values = size_.rows * model_.config.vocab;
          download(static_cast<std::uint32_t>(schedule_.pieces.size() - 1), values * sizeof(float));
          now_ += hardware_.host.element_seconds * static_cast<double>(values);
          break;
        }
      }
    }
  }

  double now_seconds() const { return now_; }

 private:
  std::size_t row_bytes() const { return model_.config.width * sizeof(float); }

  void tell(Lane lane, std::uint32_t piece, double begin, double end) {
    if (spans_ != nullptr) spans_->push_back({lane, piece, {begin, end}});
  }

  void copy(std::uint32_t piece) {
    const std::size_t slot = sent_++ % ready_.size();
    double begin = std::max(link_, free_[slot]);
    const bool on_disk = schedule_.on_disk[piece];
    if (on_disk) {
      now_ = std::max(now_, read(piece));  // the engine waits before it gives more work
      begin = std::max(begin, now_);
    }
    link_ = begin + transfer_seconds(hardware_.to_device, schedule_.pieces[piece].size_bytes);
    ready_[slot] = link_;
    copies_.push_back({begin, link_});
    tell(Lane::kLink, piece, begin, link_);
    if (on_disk) release_buffer(piece, link_);
  }

  // When a piece is in its buffer. Parts are read in order, ahead as far as buffers allow; what
  // the disk takes to begin shows only where it had nothing to do.
  double read(std::uint32_t piece) {
    const LinkSpeed& disk = hardware_.disk;
    if (disk.bytes_per_second <= 0.0) return 0.0;
    if (schedule_.part[piece] != piece) return disk_;  // came with one before
    const double free = buffer_free_[reads_ % buffer_free_.size()];
    const double begin = std::max(disk_, free);
    disk_ = begin + (free > disk_ ? disk.latency_seconds : 0.0) +
            static_cast<double>(schedule_.part_bytes(piece)) / disk.bytes_per_second;
    tell(Lane::kDisk, piece, begin, disk_);
    return disk_;
  }

  // The piece has been used.
  void release_buffer(std::uint32_t piece, double seconds) {
    if (schedule_.ends_part(piece)) buffer_free_[reads_++ % buffer_free_.size()] = seconds;
  }

  void compute(std::uint32_t piece) {
    const bool streamed = schedule_.outside[piece];
    if (streamed) now_ = std::max(now_, ready_[taken_ % ready_.size()]);
    const double begin = now_;
    work(pieces_.device[piece], hardware_.device.share_beside_copies);
    tell(Lane::kCompute, piece, begin, now_);
    if (streamed) free_[taken_++ % ready_.size()] = now_;
  }

  void download(std::uint32_t piece, std::size_t bytes) {
    const double begin = now_;
    now_ += transfer_seconds(hardware_.to_host, bytes);
    tell(Lane::kLinkDown, piece, begin, now_);
  }

  // The residual stream goes to the host and comes back.
  void compute_by_host(std::uint32_t first) {
    download(first, size_.tokens * row_bytes());
    now_ += hardware_.turn_seconds;
    const double begin = now_;
    const std::size_t unit = schedule_.pieces[first].unit;
    for (std::uint32_t p = first; p < schedule_.unit[unit + 1]; ++p) {
      if (schedule_.on_disk[p]) now_ = std::max(now_, read(p));
      work(pieces_.host[p], hardware_.host.share_beside_copies);
      if (schedule_.on_disk[p]) release_buffer(p, now_);
    }
    tell(Lane::kHost, first, begin, now_);
    now_ = over_link(hardware_.to_device, size_.tokens * row_bytes());
  }

  // When something small is through that is sent now: behind the copy that is on its way.
  double over_link(const LinkSpeed& link, std::size_t bytes) {
    const double seconds = transfer_seconds(link, bytes);
    skip_copies();
    const bool busy = past_ < copies_.size() && copies_[past_].begin_seconds < now_;
    link_ += seconds;
    return (busy ? copies_[past_].end_seconds : now_) + seconds;
  }

  void skip_copies() {
    while (past_ < copies_.size() && copies_[past_].end_seconds <= now_) ++past_;
  }

  // Lets `seconds` of computing go by, which slow down while the link is busy.
  void work(double seconds, double share) {
    skip_copies();
    for (std::size_t i = past_; share < 1.0 && i < copies_.size(); ++i) {
      const double alone = copies_[i].begin_seconds - now_;
      if (seconds <= alone) break;
      if (alone > 0.0) {
        seconds -= alone;
        now_ = copies_[i].begin_seconds;
      }
      const double beside = (copies_[i].end_seconds - now_) * share;
      if (seconds <= beside) {
        now_ += seconds / share;
        return;
      }
      seconds -= beside;
      now_ = copies_[i].end_seconds;
    }
    now_ += seconds;
  }

  const ModelLayout& model_;
  const Schedule& schedule_;
  const Hardware& hardware_;
  const PassSize size_;
  const PieceSeconds& pieces_;
  std::vector<TraceEntry>* spans_;
  std::vector<double> ready_;  // [slots]
  std::vector<double> free_;   // [slots]
  std::vector<Span> copies_;
  std::size_t past_ = 0;  // copies that were through by now
  std::size_t sent_ = 0;
  std::size_t taken_ = 0;
  std::vector<double> buffer_free_;  // [disk_buffers]
  std::size_t reads_ = 0;
  double disk_ = 0.0;  // when its reads so far are through
  double link_ = 0.0;  // when its copies so far are through
  double now_ = 0.0;   // of what computes
};

}  // namespace

double predict_piece_seconds(const ModelLayout& model, const ComputeRates& rates,
                             const Piece& piece, PassSize size) {
  const UnitInfo& unit = model.units[piece.unit];
  const std::size_t tokens = unit.kind == UnitKind::kHead ? size.rows : size.tokens;
  double seconds = 0.0;
  for (const PanelRange& range : piece.ranges) {
    const MatrixInfo& matrix = unit.matrices[range.matrix];
    const ProductRate& rate = rates.products[static_cast<std::size_t>(matrix.type())];
    const std::size_t bytes = range.panels * panel_bytes(matrix.type(), matrix.columns());
    seconds += rate.seconds_per_byte_at(tokens) * static_cast<double>(bytes) + rates.step_seconds;
    const std::size_t panels = ceil_div(matrix.rows(), kPanelRows);
    if (range.first_panel + range.panels == panels) {
      seconds += between_seconds(model, rates, matrix.role, size);
    }
  }
  return seconds;
}

// Layers are alike: what one unit's pieces take, those of another of its shape take too.
PieceSeconds predict_pieces(const ModelLayout& model, const Schedule& schedule,
                            const Hardware& hardware, PassSize size) {
  PieceSeconds seconds;
  std::vector<std::size_t> met;  // a unit of each shape, cut alike
  for (std::size_t unit = 0; unit < model.units.size(); ++unit) {
    const std::size_t begin = schedule.unit[unit];
    const std::size_t count = schedule.unit[unit + 1] - begin;
    const auto alike = std::ranges::find_if(met, [&](std::size_t other) {
      return schedule.unit[other + 1] - schedule.unit[other] == count &&
             model.units[other].same_shape(model.units[unit]);
    });
    const bool is_new = alike == met.end();
    const std::size_t known = is_new ? 0 : schedule.unit[*alike];
    for (std::size_t i = 0; i < count; ++i) {
      for (const bool host : {false, true}) {
        std::vector<double>& all = host ? seconds.host : seconds.device;
        const ComputeRates& rates = host ? hardware.host : hardware.device;
        all.push_back(is_new ? predict_piece_seconds(model, rates, schedule.pieces[begin + i], size)
                             : all[known + i]);
      }
    }
    if (is_new) met.push_back(unit);
  }
  return seconds;
}

double predict_pass_seconds(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                            const Hardware& hardware, PassSize size,
                            std::vector<TraceEntry>* spans) {
  return predict_pass_seconds(model, plan, schedule, hardware, size,
                              predict_pieces(model, schedule, hardware, size), spans);
}

// Two passes, of which the second begins with the slots as any pass finds them.
double predict_pass_seconds(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                            const Hardware& hardware, PassSize size, const PieceSeconds& pieces,
                            std::vector<TraceEntry>* spans) {
  const std::vector<Step> steps =
      pass_steps(model, plan, schedule, plan.route_of(size.tokens), size.rows > 0);
  Replay replay(model, plan, schedule, hardware, size, pieces, spans);
  replay.play(schedule.prologue);
  replay.play(steps);
  const double begin = replay.now_seconds();
  replay.play(steps);
  if (spans != nullptr) {
    std::erase_if(*spans, [&](const TraceEntry& e) { return e.span.end_seconds <= begin; });
    for (TraceEntry& entry : *spans) {
      entry.span.begin_seconds -= begin;
      entry.span.end_seconds -= begin;
    }
  }
  return replay.now_seconds() - begin + hardware.pass_seconds;
}

WorkloadPasses passes_of(const Workload& w, std::size_t segment_tokens) {
  const std::size_t prompts = std::max<std::size_t>(w.prompt_tokens * w.sequences, 1);
  const std::size_t segment = std::min(segment_tokens, prompts);
  const std::size_t segments = ceil_div(prompts, segment);
  const std::size_t last = prompts - (segments - 1) * segment;
  const std::size_t at_once =
      std::min(w.sequences, ceil_div(segment, std::max<std::size_t>(w.prompt_tokens, 1)));
  const std::size_t prompt_keys = w.prompt_tokens / 2 + 1;
  const std::size_t decoding = std::min(w.sequences, segment_tokens);
  const std::size_t rounds = ceil_div(w.sequences, decoding);
  const std::size_t generated = w.max_tokens > 0 ? w.max_tokens - 1 : 0;
  const PassSize segment_size{segment, prompt_keys, w.all_logits ? segment : 0, at_once};
  const PassSize last_size{last, prompt_keys, w.all_logits ? last : std::min(w.sequences, last),
                           at_once};
  const PassSize decode_size{decoding, w.prompt_tokens + w.max_tokens / 2, decoding, decoding};
  WorkloadPasses passes;
  passes.kinds = {PassCount{segment_size, segments - 1}, PassCount{last_size, 1},
                  PassCount{decode_size, rounds * generated}};
  return passes;
}

PassSize decode_pass_size(const Plan& plan) {
  return passes_of(plan.workload, plan.segment_tokens).decode().size;
}

Prediction predict(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                   const Hardware& hardware) {
  const Workload& w = plan.workload;
  const WorkloadPasses passes = passes_of(w, plan.segment_tokens);
  const auto seconds = [&](const PassSize& size) {
    return predict_pass_seconds(model, plan, schedule, hardware, size);
  };
  Prediction p;
  for (const PassCount* of_prompts : {&passes.segment(), &passes.last_segment()}) {
    if (of_prompts->count == 0) continue;
    p.prefill_seconds += static_cast<double>(of_prompts->count) * seconds(of_prompts->size);
  }
  const PassSize& decode = passes.decode().size;
  const double one = seconds(decode);
  p.decode_pass_seconds = one * static_cast<double>(ceil_div(w.sequences, decode.tokens));
  p.decode_seconds = one * static_cast<double>(passes.decode().count);
  p.link_bytes_per_pass = static_cast<double>(plan.streamed_bytes(model, decode.tokens));
  return p;
}

}  // namespace sluice
