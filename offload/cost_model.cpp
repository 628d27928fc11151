#include "offload/cost_model.h"

#include <algorithm>
#include <optional>

#include "memory/packed.h"
#include "memory/units.h"

namespace sluice {
namespace {

double transfer_seconds(const LinkSpeed& link, std::size_t bytes) {
  return link.latency_seconds + static_cast<double>(bytes) / link.bytes_per_second;
}

double seconds_at(double few, double many, std::size_t tokens) {
  constexpr std::size_t kFew = 8;  // a CPU's loops over so many tokens aren't split
  return tokens > kFew && many > 0.0 ? many : few;
}

double attention_seconds(const ModelLayout& model, const ComputeRates& rates, PassSize size) {
  const ModelConfig& c = model.config;
  const double products = 4.0 * static_cast<double>(size.tokens) * static_cast<double>(size.keys) *
                          static_cast<double>(c.query_width());
  const bool alone = size.tokens * size.keys * c.heads < kAloneScores &&
                     rates.attention_alone_operations_per_second > 0.0;
  return products / (alone ? rates.attention_alone_operations_per_second
                     : size.tokens > size.sequences
                         ? rates.attention_operations_per_second
                         : rates.attention_one_token_operations_per_second);
}

// Norms, rotations, activations and quantising, around the matrix that ends here.
double between_seconds(const ModelLayout& model, const ComputeRates& rates, MatrixRole role,
                       PassSize size) {
  const ModelConfig& c = model.config;
  const double tokens = static_cast<double>(size.tokens);
  const double element = seconds_at(rates.element_seconds, rates.element_seconds_many, size.tokens);
  const double rotate = seconds_at(rates.rotate_seconds, rates.rotate_seconds_many, size.tokens);
  switch (role) {
    case MatrixRole::kValue:
      return element * tokens * static_cast<double>(c.width) +
             (rotate > 0.0 ? rotate : element) * tokens *
                 static_cast<double>(2 * c.query_width() + 2 * c.kv_width()) +
             attention_seconds(model, rates, size) + 3 * rates.step_seconds;
    case MatrixRole::kUp:
      return element * tokens * static_cast<double>(c.width + 2 * c.feed_forward) +
             2 * rates.step_seconds;
    case MatrixRole::kHead:
      return element * static_cast<double>(size.rows * c.width) + rates.step_seconds;
    default:
      return 0.0;
  }
}

// Of one piece, with nothing copied meanwhile.
struct PieceSeconds {
  double products = 0.0;
  double paced = 0.0;  // that these take at least
  double between = 0.0;
  double alone() const { return std::max(products, paced) + between; }
};

PieceSeconds piece_seconds(const ModelLayout& model, const ComputeRates& rates, const Piece& piece,
                           PassSize size) {
  const UnitInfo& unit = model.units[piece.unit];
  const std::size_t tokens = unit.kind == UnitKind::kHead ? size.rows : size.tokens;
  PieceSeconds seconds;
  bool together = false;  // with the product before
  for (const PanelRange& range : piece.ranges) {
    const MatrixInfo& matrix = unit.matrices[range.matrix];
    const ProductRate& rate = rates.products[static_cast<std::size_t>(matrix.type())];
    const auto bytes =
        static_cast<double>(range.panels * panel_bytes(matrix.type(), matrix.columns()));
    seconds.products += rate.seconds_per_byte_at(tokens) * bytes;
    if (!together) seconds.products += rates.step_seconds;
    together = !ends_batch(matrix.role);
    const double operations =
        2.0 * static_cast<double>(range.panels * kPanelRows * matrix.columns() * tokens);
    seconds.paced += rates.pace.seconds(bytes, operations);
    const std::size_t panels = ceil_div(matrix.rows(), kPanelRows);
    if (range.first_panel + range.panels == panels) {
      seconds.between += between_seconds(model, rates, matrix.role, size);
    }
  }
  return seconds;
}

// The clocks of a machine while passes go by.
class Replay {
 public:
  Replay(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
         const Hardware& hardware, std::vector<TraceEntry>* spans = nullptr)
      : model_(model),
        schedule_(schedule),
        hardware_(hardware),
        spans_(spans),
        ready_(std::max<std::size_t>(plan.slots, 1), 0.0),
        free_(ready_.size(), 0.0),
        by_device_(schedule.pieces.size()),
        by_host_(schedule.pieces.size()) {
    for (const Step& step : schedule.prologue) copy(step.piece);
  }

  // Of the passes to come.
  void set_size(PassSize size) {
    size_ = size;
    std::ranges::fill(by_device_, std::nullopt);
    std::ranges::fill(by_host_, std::nullopt);
  }

  // Nobody wants anything until all copies are through.
  void idle() { now_ = std::max(now_, link_); }

  // A pass that begins when the one before is over and its tokens are laid out, which takes as long
  // as this.
  void pass(const std::vector<Step>& steps, double between_seconds) {
    now_ += between_seconds;
    for (const Step& step : steps) {
      switch (step.kind) {
        case StepKind::kInput:
          now_ = over_link(hardware_.to_device, size_.tokens * (row_bytes() + rotation_bytes()));
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
          const double look = hardware_.logit_seconds > 0.0 ? hardware_.logit_seconds
                                                            : hardware_.host.element_seconds;
          now_ += transfer_seconds(hardware_.to_host, values * sizeof(float)) +
                  look * static_cast<double>(values);
          break;
        }
      }
    }
  }

  double now_seconds() const { return now_; }

 private:
  // A copy of weights.
  struct Copy {
    double begin_seconds;
    double end_seconds;
    std::size_t slot;
    std::size_t span;  // among the spans told of
  };

  std::size_t row_bytes() const { return model_.config.width * sizeof(float); }
  std::size_t rotation_bytes() const { return model_.config.rope_dims * sizeof(float); }

  void tell(Lane lane, std::uint32_t piece, double begin, double end) {
    if (spans_ != nullptr) spans_->push_back({lane, piece, {begin, end}});
  }

  void copy(std::uint32_t piece) {
    const std::size_t slot = sent_++ % ready_.size();
    const std::size_t bytes = schedule_.pieces[piece].size_bytes;
    const double begin = std::max(link_, free_[slot]);
    link_ = begin + transfer_seconds(hardware_.to_device, bytes);
    ready_[slot] = link_;
    copies_.push_back({begin, link_, slot, spans_ == nullptr ? 0 : spans_->size()});
    tell(Lane::kLink, piece, begin, link_);
  }

  void compute(std::uint32_t piece) {
    const bool streamed = schedule_.outside[piece];
    if (streamed && ready_[taken_ % ready_.size()] > now_) {
      now_ = ready_[taken_ % ready_.size()] + hardware_.wait_seconds;
    }
    const double begin = now_;
    work(by_device_[piece], hardware_.device, piece);
    tell(Lane::kCompute, piece, begin, now_);
    if (streamed) free_[taken_++ % ready_.size()] = now_;
  }

  // The residual stream goes to the host and comes back.
  void compute_by_host(std::uint32_t first) {
    now_ += transfer_seconds(hardware_.to_host, size_.tokens * row_bytes());
    now_ += hardware_.turn_seconds;
    const double begin = now_;
    const std::size_t unit = schedule_.pieces[first].unit;
    for (auto p = first; p < schedule_.unit[unit + 1]; ++p) work(by_host_[p], hardware_.host, p);
    tell(Lane::kHost, first, begin, now_);
    now_ = over_link(hardware_.to_device, size_.tokens * row_bytes());
  }

  // When something small is through that is sent now: behind the copy that is on its way, and
  // before those that wait.
  double over_link(const LinkSpeed& link, std::size_t bytes) {
    skip_copies();
    std::size_t next = past_;
    double end = now_;
    if (next < copies_.size() && copies_[next].begin_seconds < now_) {
      end = copies_[next++].end_seconds;
    }
    end += transfer_seconds(link, bytes);
    double free = end;
    for (; next < copies_.size() && copies_[next].begin_seconds < free; ++next) {
      delay(copies_[next], free - copies_[next].begin_seconds);
      free = copies_[next].end_seconds;
    }
    link_ = std::max(link_, free);
    return end;
  }

  void delay(Copy& late, double seconds) {
    late.begin_seconds += seconds;
    late.end_seconds += seconds;
    ready_[late.slot] = late.end_seconds;
    if (spans_ == nullptr) return;
    (*spans_)[late.span].span = {late.begin_seconds, late.end_seconds};
  }

  void skip_copies() {
    while (past_ < copies_.size() && copies_[past_].end_seconds <= now_) ++past_;
  }

  void work(std::optional<PieceSeconds>& seconds, const ComputeRates& rates, std::uint32_t piece) {
    if (!seconds) seconds = piece_seconds(model_, rates, schedule_.pieces[piece], size_);
    const double paced_end = now_ + seconds->paced;
    go_on(seconds->products, rates.share_beside_copies);
    now_ = std::max(now_, paced_end);
    go_on(seconds->between, rates.share_beside_copies);
  }

  // Lets `seconds` of computing go by, which slow down while the link is busy.
  void go_on(double seconds, double share) {
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
  PassSize size_{};
  std::vector<TraceEntry>* spans_;
  std::vector<double> ready_;                           // [slots]
  std::vector<double> free_;                            // [slots]
  std::vector<std::optional<PieceSeconds>> by_device_;  // [pieces], of passes of this size
  std::vector<std::optional<PieceSeconds>> by_host_;
  std::vector<Copy> copies_;
  std::size_t past_ = 0;  // copies that were through by now
  std::size_t sent_ = 0;
  std::size_t taken_ = 0;
  double link_ = 0.0;  // when its copies so far are through
  double now_ = 0.0;   // of what computes
};

std::vector<Step> steps_of(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                           PassSize size) {
  return pass_steps(model, plan, schedule, plan.route_of(size.tokens), size.rows > 0);
}

// From one call of the engine to the next.
double between_calls(const Hardware& hardware, std::size_t tokens) {
  return hardware.pass_seconds + hardware.token_seconds * static_cast<double>(tokens);
}

// So many passes of one size.
struct Passes {
  std::size_t count;
  PassSize size;
};

// Prompts' passes, after a rest. While one is computed the next is laid out. Of many alike the
// first ones are replayed, and the others take as long as the last of these.
double prefill_seconds(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                       const Hardware& hardware, std::initializer_list<Passes> all) {
  constexpr std::size_t kReplayed = 2;
  Replay replay(model, plan, schedule, hardware);
  replay.idle();
  const double begin = replay.now_seconds();
  double more_seconds = 0.0;
  double between_seconds = 0.0;
  for (const Passes& passes : all) {
    if (passes.count == 0) continue;
    if (between_seconds == 0.0) between_seconds = between_calls(hardware, passes.size.tokens);
    const std::vector<Step> steps = steps_of(model, plan, schedule, passes.size);
    replay.set_size(passes.size);
    double before = begin;
    const std::size_t replayed = std::min(passes.count, kReplayed);
    for (std::size_t i = 0; i < replayed; ++i) {
      before = replay.now_seconds();
      replay.pass(steps, before > begin ? 0.0 : between_seconds);
    }
    more_seconds += static_cast<double>(passes.count - replayed) * (replay.now_seconds() - before);
  }
  return replay.now_seconds() - begin + more_seconds;
}

}  // namespace

double predict_piece_seconds(const ModelLayout& model, const ComputeRates& rates,
                             const Piece& piece, PassSize size) {
  return piece_seconds(model, rates, piece, size).alone();
}

// Two passes, of which the second begins with the slots as any pass finds them.
double predict_pass_seconds(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                            const Hardware& hardware, PassSize size,
                            std::vector<TraceEntry>* spans) {
  const std::vector<Step> steps = steps_of(model, plan, schedule, size);
  const double between = between_calls(hardware, size.tokens);
  Replay replay(model, plan, schedule, hardware, spans);
  replay.set_size(size);
  replay.pass(steps, between);
  const double begin = replay.now_seconds();
  replay.pass(steps, between);
  if (spans != nullptr) {
    std::erase_if(*spans, [&](const TraceEntry& e) { return e.span.end_seconds <= begin; });
    for (TraceEntry& entry : *spans) {
      entry.span.begin_seconds -= begin;
      entry.span.end_seconds -= begin;
    }
  }
  return replay.now_seconds() - begin;
}

Prediction predict(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
                   const Hardware& hardware) {
  const Workload& w = plan.workload;
  const std::size_t prompt_total = std::max<std::size_t>(w.prompt_tokens * w.sequences, 1);
  const std::size_t segment = std::min(plan.segment_tokens, prompt_total);
  const std::size_t passes = ceil_div(prompt_total, segment);
  const std::size_t at_once = std::min(w.sequences, ceil_div(segment, w.prompt_tokens));
  const std::size_t keys = w.prompt_tokens / 2 + 1;
  // Before the last pass some prompts end, and their logits are wanted there.
  const std::size_t inner = passes - 1;
  const std::size_t ended =
      std::min(w.sequences - 1, inner * segment / std::max<std::size_t>(w.prompt_tokens, 1));
  const std::size_t ending = w.all_logits ? inner : std::min(inner, ended);
  const std::size_t rows = ending == 0 ? 0 : w.all_logits ? segment : ceil_div(ended, ending);
  const std::size_t last_tokens = prompt_total - inner * segment;
  const std::size_t last_rows = w.all_logits ? last_tokens : w.sequences - ended;
  const PassSize plain{segment, keys, 0, at_once};
  const PassSize with_logits{segment, keys, rows, at_once};
  const PassSize last{last_tokens, keys, std::min(last_rows, last_tokens), at_once};
  const std::size_t decode_tokens = std::min(w.sequences, plan.segment_tokens);
  const PassSize decode{decode_tokens, w.prompt_tokens + w.max_tokens / 2, decode_tokens,
                        decode_tokens};

  Prediction p;
  p.prefill_seconds = prefill_seconds(model, plan, schedule, hardware,
                                      {{inner - ending, plain}, {ending, with_logits}, {1, last}});
  p.decode_pass_seconds = predict_pass_seconds(model, plan, schedule, hardware, decode) *
                          static_cast<double>(ceil_div(w.sequences, decode_tokens));
  p.decode_seconds =
      p.decode_pass_seconds * static_cast<double>(w.max_tokens > 0 ? w.max_tokens - 1 : 0);
  p.link_bytes_per_pass = static_cast<double>(plan.streamed_bytes(model, decode_tokens));
  return p;
}

}  // namespace sluice
