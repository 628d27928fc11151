#include "offload/replay.h"

#include <algorithm>

namespace sluice {

Replay::Replay(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
               const Hardware& hardware, std::vector<TraceEntry>* spans)
    : model_(model),
      plan_(plan),
      schedule_(schedule),
      hardware_(hardware),
      spans_(spans),
      slots_(std::max<std::size_t>(plan.slots, 1)),
      ready_(slots_ + plan.cache_slots, 0.0),
      free_(ready_.size(), 0.0),
      buffer_free_(std::max<std::size_t>(plan.disk_buffers, 1), 0.0) {
  copies_.reserve(schedule.pieces.size() + schedule.prologue.size());
  for (const Step& step : schedule.prologue) copy(step.piece);
}

void Replay::idle() {
  now_ = std::max(now_, link_);
}

void Replay::pass(const std::vector<Step>& steps, const PassSize& size, const PieceTable& pieces,
                  double between_seconds) {
  now_ += between_seconds;
  for (const Step& step : steps) {
    switch (step.kind) {
      case StepKind::kInput:
        now_ = over_link(size.tokens * (row_bytes() + rotation_bytes()));
        break;
      case StepKind::kCopy:
        copy(step.piece);
        break;
      case StepKind::kCompute:
        compute(step.piece, pieces.device[step.piece]);
        break;
      case StepKind::kHost:
        compute_by_host(step.piece, size, pieces);
        break;
      case StepKind::kAttend:
        attend_by_host(step.piece, size, pieces.host_attention);
        break;
      case StepKind::kCopyCache:
        copy_cache(step.piece, pieces.cache_traffic);
        break;
      case StepKind::kAttendCopied:
        attend_copied(step.piece, pieces);
        break;
      case StepKind::kLogits:
        download_logits(size);
        break;
    }
  }
  now_ = std::max(now_, back_);
}

std::size_t Replay::row_bytes() const {
  return model_.config.width * sizeof(float);
}

std::size_t Replay::rotation_bytes() const {
  return model_.config.rope_dims * sizeof(float);
}

void Replay::tell(Lane lane, std::uint32_t piece, double begin, double end, bool cache) {
  if (spans_ != nullptr) spans_->push_back({lane, piece, {begin, end}, cache});
}

void Replay::copy(std::uint32_t piece) {
  const std::size_t slot = sent_++ % slots_;
  const bool on_disk = schedule_.on_disk[piece];
  double there = 0.0;
  if (on_disk) {
    now_ = std::max(now_, read(piece));  // the engine waits before it gives more work
    there = now_;
  }
  const std::size_t bytes = schedule_.pieces[piece].size_bytes;
  send(piece, slot, there, bytes, hardware_.to_device.seconds(bytes));
  if (on_disk) release_buffer(piece, ready_[slot]);
}

// All pages that hold keys from before the pass.
void Replay::copy_cache(std::uint32_t piece, const CacheTraffic& traffic) {
  const std::size_t slot = slots_ + sent_caches_++ % plan_.cache_slots;
  ready_[slot] = free_[slot];
  if (traffic.before_bytes == 0) return;
  send(piece, slot, 0.0, traffic.before_bytes, traffic.up_seconds, /*cache=*/true);
}

// To a slot, when that is free, the link is, and what is sent is there.
void Replay::send(std::uint32_t piece, std::size_t slot, double there, std::size_t bytes,
                  double seconds, bool cache) {
  const double begin = std::max({link_, free_[slot], there});
  link_ = begin + seconds;
  Copy sent{{begin, link_}, {begin, link_}, slot, spans_ == nullptr ? 0 : spans_->size()};
  if (copied_by_cores()) {
    const double copied_before = copies_.empty() ? 0.0 : copies_.back().work.end_seconds;
    sent.work.begin_seconds = std::max(there > 0.0 ? begin : free_[slot], copied_before);
    sent.work.end_seconds =
        sent.work.begin_seconds + static_cast<double>(bytes) / hardware_.copy_bytes_per_second;
  }
  ready_[slot] = sent.ready_seconds();
  copies_.push_back(sent);
  tell(Lane::kLink, piece, begin, link_, cache);
}

// When a piece is in its buffer. Parts are read in order, ahead as far as buffers allow; what the
// disk takes to begin shows only where it had nothing to do.
double Replay::read(std::uint32_t piece) {
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
void Replay::release_buffer(std::uint32_t piece, double seconds) {
  if (schedule_.ends_part(piece)) buffer_free_[reads_++ % buffer_free_.size()] = seconds;
}

void Replay::compute(std::uint32_t piece, const PieceSeconds& seconds) {
  const bool streamed = schedule_.outside[piece];
  if (streamed) wait_for(taken_ % slots_);
  const double begin = now_;
  work(seconds, hardware_.device.share_beside_copies);
  tell(Lane::kCompute, piece, begin, now_);
  if (streamed) free_[taken_++ % slots_] = now_;
}

void Replay::wait_for(std::size_t slot) {
  if (ready_[slot] > now_) now_ = ready_[slot] + hardware_.wait_seconds;
}

// The residual stream goes to the host and comes back.
void Replay::compute_by_host(std::uint32_t first, const PassSize& size, const PieceTable& pieces) {
  const double begin = fetch(size.tokens * row_bytes(), first);
  const std::size_t unit = schedule_.pieces[first].unit;
  for (std::uint32_t p = first; p < schedule_.unit[unit + 1]; ++p) {
    if (schedule_.on_disk[p]) now_ = std::max(now_, read(p));
    work(pieces.host[p], hardware_.host.share_beside_copies);
    if (schedule_.on_disk[p]) release_buffer(p, now_);
  }
  tell(Lane::kHost, first, begin, now_);
  now_ = over_link(size.tokens * row_bytes());
}

// Queries, keys and values go to the host, and come back attended.
void Replay::attend_by_host(std::uint32_t piece, const PassSize& size,
                            const PieceSeconds& seconds) {
  const ModelConfig& c = model_.config;
  const double begin = fetch(size.tokens * mixed_row_bytes(c), piece);
  work(seconds, hardware_.host.share_beside_copies);
  tell(Lane::kHost, piece, begin, now_);
  const UnitInfo& unit = model_.units[schedule_.pieces[piece].unit];
  now_ = over_link(size.tokens * attended_row_bytes(c, unit, plan_.precision));
}

// What the pass has added goes back while computing goes on.
void Replay::attend_copied(std::uint32_t piece, const PieceTable& pieces) {
  const std::size_t slot = slots_ + taken_caches_++ % plan_.cache_slots;
  wait_for(slot);
  const double begin = now_;
  work(pieces.device_attention, hardware_.device.share_beside_copies);
  tell(Lane::kCompute, piece, begin, now_, /*cache=*/true);
  const double back_begin = std::max(back_, now_);
  back_ = back_begin + pieces.cache_traffic.down_seconds;
  tell(Lane::kLinkDown, piece, back_begin, back_, /*cache=*/true);
  free_[slot] = back_;
}

// When the host has got hold of what computing has left so far.
double Replay::fetch(std::size_t bytes, std::uint32_t piece) {
  bring_back(piece, bytes);
  now_ += hardware_.turn_seconds;
  return now_;
}

// The device looks through the logits for the next tokens; summaries come back.
void Replay::download_logits(const PassSize& size) {
  const double look = hardware_.logit_seconds > 0.0 ? hardware_.logit_seconds
                                                    : hardware_.device.element_seconds.front();
  now_ += look * static_cast<double>(size.rows * model_.config.vocab);
  bring_back(schedule_.last_piece(), size.rows * sizeof(LogitsSummary));
}

// Behind keys and values that are on their way.
void Replay::bring_back(std::uint32_t piece, std::size_t bytes) {
  const double begin = std::max(now_, back_);
  now_ = begin + hardware_.to_host.seconds(bytes);
  tell(Lane::kLinkDown, piece, begin, now_);
}

// When something small is on the device that is sent now: behind the copy that is on its way, and
// before those that wait.
double Replay::over_link(std::size_t bytes) {
  skip_copies();
  std::size_t next = past_;
  double end = now_;
  if (next < copies_.size() && copies_[next].link.begin_seconds < now_) {
    end = copies_[next++].link.end_seconds;
  }
  end += hardware_.to_device.seconds(bytes);
  double free = end;
  for (; next < copies_.size() && copies_[next].link.begin_seconds < free; ++next) {
    delay(copies_[next], free - copies_[next].link.begin_seconds);
    free = copies_[next].link.end_seconds;
  }
  link_ = std::max(link_, free);
  return end;
}

void Replay::delay(Copy& late, double seconds) {
  late.link.begin_seconds += seconds;
  late.link.end_seconds += seconds;
  if (!copied_by_cores()) late.work = late.link;
  ready_[late.slot] = late.ready_seconds();
  if (spans_ != nullptr) (*spans_)[late.span].span = late.link;
}

void Replay::skip_copies() {
  while (past_ < copies_.size() && copies_[past_].link.end_seconds <= now_) ++past_;
  while (worked_ < copies_.size() && copies_[worked_].work.end_seconds <= now_) ++worked_;
}

void Replay::work(const PieceSeconds& seconds, double share) {
  const double paced_end = now_ + seconds.paced;
  go_on(seconds.products, share);
  now_ = std::max(now_, paced_end);
  go_on(seconds.between, share);
}

// Lets `seconds` of computing go by, which slow down while something is copied.
void Replay::go_on(double seconds, double share) {
  skip_copies();
  for (std::size_t i = worked_; share < 1.0 && i < copies_.size(); ++i) {
    const Span& copying = copies_[i].work;
    const double alone = copying.begin_seconds - now_;
    if (seconds <= alone) break;
    if (alone > 0.0) {
      seconds -= alone;
      now_ = copying.begin_seconds;
    }
    const double beside = (copying.end_seconds - now_) * share;
    if (seconds <= beside) {
      now_ += seconds / share;
      return;
    }
    seconds -= beside;
    now_ = copying.end_seconds;
  }
  now_ += seconds;
}

}  // namespace sluice
