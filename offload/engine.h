// The engine: loads a model as a plan says, then runs passes over batches of sequences.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "layers/model.h"
#include "memory/arena.h"
#include "memory/host_store.h"
#include "memory/kv_pages.h"
#include "offload/cache_slots.h"
#include "offload/disk_stage.h"
#include "offload/host_worker.h"
#include "offload/loader.h"
#include "offload/pass_graph.h"
#include "offload/pass_input.h"
#include "offload/plan.h"
#include "offload/schedule.h"
#include "offload/sequence.h"
#include "offload/streamer.h"
#include "offload/trace.h"

namespace sluice {

struct EngineOptions {
  Progress on_load;                         // bytes of weights
  Progress on_feed;                         // tokens of one call of feed
  const std::atomic<bool>* stop = nullptr;  // looked at between passes
  bool trace = false;
  bool graphs = true;                               // where a pass may be given as one
  ComputePace host_pace;                            // of the units that the host computes
  MakeReadQueue make_read_queue = ReadQueue::make;  // for what lies on the disk
};

struct EngineCounters {
  std::size_t passes = 0;
  double pass_seconds = 0.0;     // from a feed's first pass to its last logits
  double copy_seconds = 0.0;     // the link was busy with weights
  double compute_seconds = 0.0;  // the device was busy computing
  double host_seconds = 0.0;     // the host was busy computing its units, or attending
  double disk_seconds = 0.0;     // the disk was busy reading weights
};

// Owns all memory of a run: the arena on the device, the weights in host memory, the pages. After
// construction it takes no more of either, and a pass allocates nothing, but for a graph that is
// made. Used by one thread.
class Engine {
 public:
  // Loads. Borrows all but the options. Throws Error{kOverBudget} if the device has less memory
  // than the plan takes, Error{kIo} for host memory, Interrupted.
  Engine(const ModelFile& file, const ModelLayout& layout, const Plan& plan, Device& device,
         Ops& ops, EngineOptions options);

  // Runs the feeds' tokens, as many passes as it takes; sequences may differ in length. Afterwards
  // summary(i) is of the logits of the last token of feed i, and logits(i) [vocab] brings them
  // themselves, which costs a copy and a wait; both stay until the next call. Throws
  // Error{kUsage} for a token that the vocabulary lacks or a sequence that passes its context, and
  // Error{kIo} when the file can no longer be read: the engine is of no use then.
  void feed(std::span<const Feed> feeds);
  const LogitsSummary& summary(std::size_t feed) const { return host_summaries_[feed]; }
  std::span<const float> logits(std::size_t feed);

  // As feed, and shows the logits of every token in order, or a summary of them: its target is the
  // next token of the feed, its sum at temperature 1, and it has none of the highest. Needs
  // workload.all_logits.
  using LogitsSink =
      std::function<void(std::size_t feed, std::size_t token, std::span<const float> logits)>;
  using SummarySink =
      std::function<void(std::size_t feed, std::size_t token, const LogitsSummary& summary)>;
  void score(std::span<const Feed> feeds, const LogitsSink& sink);
  void score(std::span<const Feed> feeds, const SummarySink& sink);

  // Forgets a sequence's tokens from `length` on, and gives back their pages.
  void truncate(std::size_t sequence, std::size_t length);
  std::size_t length(std::size_t sequence) const { return sequences_[sequence].length; }

  // Of the feeds that are through.
  EngineCounters counters() const;
  const Arena& arena() const { return arena_; }
  // Over the link since loading, both ways.
  std::size_t link_bytes() const;
  // From the disk since loading.
  std::size_t disk_bytes() const { return disk_ == nullptr ? 0 : disk_->read_bytes(); }
  std::size_t host_bytes() const { return plan_.host_bytes.total(); }
  const std::string& warning() const { return warning_; }
  const Trace& trace() const { return trace_; }
  double load_seconds() const { return load_seconds_; }

 private:
  void lend_workspace(Ops& ops);
  void start_host();
  void check(std::span<const Feed> feeds) const;
  using RowSink = std::function<void(std::size_t feed, std::size_t token, std::size_t row)>;
  void run(std::span<const Feed> feeds, const RowSink* sink);
  void run_pass(const PassShape& shape, std::byte* staged, bool top);
  bool has_graph(const PassShape& shape, bool top);
  void run_input(const PassShape& shape, const std::byte* staged);
  void fetch_summaries(const PassShape& shape);
  void run_copy(const Step& step);
  const std::byte* take_read(std::uint32_t piece);
  void run_compute(const Step& step);
  void run_host(const Step& step, const PassShape& shape, std::byte* staged);
  void run_attend(const Step& step);
  void run_copy_cache(const Step& step);
  void run_attend_copied(const Step& step);
  template <typename Work>
  void compute(std::uint32_t piece, bool cache, const Work& work);
  template <typename Work>
  void call_host(const Work& work, Span* span);
  void fetch(std::byte* to, const std::byte* from, std::size_t bytes, std::uint32_t piece);
  void wait_for_compute();
  void show_rows(const RowSink& sink) const;

  const ModelLayout& layout_;
  const Plan plan_;
  Device& device_;
  EngineOptions options_;
  const Schedule schedule_;
  std::vector<std::array<std::vector<Step>, 2>> passes_;  // [routes + 1][with logits]
  const std::size_t input_bytes_;                         // of the largest pass
  Arena arena_;
  std::string warning_;
  HostStore store_;                // weights that aren't resident
  HostStore staging_;              // inputs of two passes, then summaries and logits
  LogitsSummary* host_summaries_;  // [plan_.logit_rows()]
  float* host_logits_;             // [plan_.logit_rows(), vocab]
  LoadedWeights weights_;
  Workspace workspace_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<HostWorker> host_;  // null: the host computes nothing
  std::unique_ptr<DiskStage> disk_;   // null: none lie on the disk
  bool host_attended_ = false;        // in the pass before
  std::unique_ptr<Event> host_turn_;
  PagePool pages_;
  std::vector<Sequence> sequences_;
  PassInputBuilder builder_;
  Trace trace_;

  // Passes alternate between two halves of the staging. A half may be filled again when the pass
  // that it fed is done.
  struct Half {
    std::unique_ptr<Event> done;
    Trace::Mark mark{};
  };
  Half halves_[2];
  std::unique_ptr<CacheSlots> cache_slots_;  // null: there are none
  std::unique_ptr<Streamer> streamer_;       // goes before these, which its copies wait for
  std::unique_ptr<PassGraph> graph_;         // null: passes are given step by step
  std::unique_ptr<Stream> compute_;  // goes first: it ends its work, which uses all of the above
  EngineCounters counters_;
  double load_seconds_ = 0.0;
  std::size_t other_link_bytes_ = 0;  // inputs, summaries and logits
};

}  // namespace sluice
