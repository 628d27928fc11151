// The clocks of a machine while passes go by: what computes, the link, the disk.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "offload/hardware.h"
#include "offload/piece_seconds.h"
#include "offload/schedule.h"
#include "offload/trace.h"

namespace sluice {

class Replay {
 public:
  // Borrows all of it; `spans`, if there is one, is told when what would run.
  Replay(const ModelLayout& model, const Plan& plan, const Schedule& schedule,
         const Hardware& hardware, std::vector<TraceEntry>* spans = nullptr);

  // Nobody wants anything until all copies are through.
  void idle();
  // A pass by these steps, of pieces that take so long. It begins when the one before is over and
  // its tokens are laid out, which takes `between_seconds`.
  void pass(const std::vector<Step>& steps, const PassSize& size, const PieceTable& pieces,
            double between_seconds);

  double now_seconds() const { return now_; }

 private:
  // A copy of weights.
  struct Copy {
    Span link;  // is busy with it
    Span work;  // of who copies; computing slows down meanwhile
    std::size_t slot;
    double ready_seconds() const { return std::max(link.end_seconds, work.end_seconds); }
    std::size_t span;  // among the spans told of
  };

  bool copied_by_cores() const { return hardware_.copy_bytes_per_second > 0.0; }
  double fetch(std::size_t bytes, std::uint32_t piece);
  std::size_t row_bytes() const;
  std::size_t rotation_bytes() const;
  void tell(Lane lane, std::uint32_t piece, double begin, double end, bool cache = false);
  void copy(std::uint32_t piece);
  void copy_cache(std::uint32_t piece, const CacheTraffic& traffic);
  void send(std::uint32_t piece, std::size_t slot, double there, std::size_t bytes, double seconds,
            bool cache = false);
  double read(std::uint32_t piece);
  void release_buffer(std::uint32_t piece, double seconds);
  void compute(std::uint32_t piece, const PieceSeconds& seconds);
  void compute_by_host(std::uint32_t first, const PassSize& size, const PieceTable& pieces);
  void attend_by_host(std::uint32_t piece, const PassSize& size, const PieceSeconds& seconds);
  void attend_copied(std::uint32_t piece, const PieceTable& pieces);
  void wait_for(std::size_t slot);
  void bring_back(std::uint32_t piece, std::size_t bytes);
  void download_logits(const PassSize& size);
  double over_link(std::size_t bytes);
  void delay(Copy& late, double seconds);
  void skip_copies();
  void work(const PieceSeconds& seconds, double share);
  void go_on(double seconds, double share);

  const ModelLayout& model_;
  const Plan& plan_;
  const Schedule& schedule_;
  const Hardware& hardware_;
  std::vector<TraceEntry>* spans_;
  const std::size_t slots_;          // of weights, 1 at least
  std::vector<double> ready_;        // [slots + cache slots]
  std::vector<double> free_;         // [slots + cache slots]
  std::vector<double> buffer_free_;  // [disk_buffers]
  std::vector<Copy> copies_;
  std::size_t past_ = 0;    // copies that the link was through with by now
  std::size_t worked_ = 0;  // and who copies
  std::size_t sent_ = 0;
  std::size_t taken_ = 0;
  std::size_t sent_caches_ = 0;
  std::size_t taken_caches_ = 0;
  std::size_t reads_ = 0;
  double disk_ = 0.0;  // when its reads so far are through
  double link_ = 0.0;  // when its copies so far are through
  double back_ = 0.0;  // and those of keys and values on their way to host memory
  double now_ = 0.0;   // of what computes
};

}  // namespace sluice
