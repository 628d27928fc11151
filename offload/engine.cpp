#include "offload/engine.h"

#include <algorithm>
#include <cassert>

#include "memory/clock.h"
#include "memory/error.h"
#include "memory/units.h"

namespace sluice {
Engine::Engine(const ModelFile& file, const ModelLayout& layout, const Plan& plan, Device& device,
               Ops& ops, EngineOptions options)
    : layout_(layout),
      plan_(plan),
      device_(device),
      options_(std::move(options)),
      schedule_(make_schedule(layout, plan_)),
      passes_(plan_.routes.size() + 1),
      input_bytes_(align_up(plan_.largest_pass().input_bytes(layout.config))),
      arena_(device, plan_.bytes.arena()),
      store_(store_bytes(layout, plan_)),
      staging_(plan_.host_bytes.staging),
      host_summaries_(reinterpret_cast<LogitsSummary*>(staging_.data() + 2 * input_bytes_)),
      host_logits_(reinterpret_cast<float*>(staging_.data() + 2 * input_bytes_ +
                                            align_up(plan_.logit_rows() * sizeof(LogitsSummary)))),
      pages_(plan_.kv.pages),
      sequences_(plan_.workload.sequences),
      builder_(file, layout, plan_, sequences_, pages_),
      trace_(4 * schedule_.pieces.size() + 2 * (plan_.slots + plan_.cache_slots), options_.trace),
      compute_(device.make_stream("compute")) {
  const double begin = now_seconds();
  for (Sequence& sequence : sequences_) {
    sequence.pages.reserve(ceil_div(plan_.workload.context_tokens, kPageTokens));
  }
  for (Half& half : halves_) half.done = device.make_event();
  host_turn_ = device.make_event();
  for (std::size_t route = 0; route <= plan_.routes.size(); ++route) {
    for (const bool logits : {false, true}) {
      passes_[route][logits] = pass_steps(layout, plan_, schedule_, route, logits);
    }
  }
  weights_ = load_weights(file, layout, plan_, device, arena_, store_.data(), options_.on_load,
                          options_.stop);
  // Once its pages are there: filling them is the loader's, on all threads.
  warning_ = store_.pin(device);
  const std::string staging_warning = staging_.pin(device);
  if (warning_.empty()) warning_ = staging_warning;
  lend_workspace(ops);
  model_ = std::make_unique<Model>(layout, ops, workspace_);
  if (plan_.host_computes()) start_host();
  if (plan_.disk_buffers > 0) {
    disk_ = std::make_unique<DiskStage>(file, layout, plan_, schedule_, device,
                                        options_.make_read_queue);
    if (warning_.empty()) warning_ = disk_->warning();
  }
  if (options_.graphs && !options_.trace && plan_.fits_graph(1)) {
    graph_ = std::make_unique<PassGraph>(device_, *compute_);
  }
  for (const Step& step : schedule_.prologue) run_copy(step);
  load_seconds_ = now_seconds() - begin;
}

// In the order, and of the sizes, of PlanBytes.
void Engine::lend_workspace(Ops& ops) {
  const WorkspaceSizes sizes = workspace_sizes(layout_, plan_.precision, plan_.largest_pass());
  std::byte* slots = arena_.lend(plan_.bytes.slots, "slots");
  streamer_ = std::make_unique<Streamer>(device_, *compute_, slots, plan_.slots, plan_.slot_bytes);
  workspace_.kv =
      plan_.layer_caches(Plan::Side::kDevice, arena_.lend(plan_.kv.total_bytes(), "pages"));
  workspace_.kv_layout = plan_.kv;
  if (plan_.cache_slots > 0) {
    cache_slots_ = std::make_unique<CacheSlots>(device_, *compute_, streamer_->link(),
                                                arena_.lend(plan_.bytes.cache_slots, "pages"),
                                                plan_.cache_slots, plan_.host_kv);
  }
  workspace_.input = arena_.lend(sizes.input_bytes, "a pass's input");
  workspace_.precision = plan_.precision;
  for (std::size_t form = 0; form < kActivationForms; ++form) {
    if (sizes.activation_bytes[form] == 0) continue;
    workspace_.activations.forms[form] = arena_.lend(sizes.activation_bytes[form], "activations");
  }
  workspace_.mixing = arena_.lend_array<float>(sizes.mixing_floats, "activations");
  const std::size_t rows = plan_.logit_rows();
  workspace_.logits = arena_.lend_array<float>(rows * layout_.config.vocab, "logits");
  workspace_.summaries = arena_.lend_array<LogitsSummary>(rows, "logits");
  workspace_.vectors = weights_.vectors;
  if (plan_.gpu) {
    const ScratchSizes scratch = gpu_scratch_sizes(layout_, plan_.precision, plan_.largest_pass());
    ops.use_scratch(arena_.lend(scratch.total(), "scratch"), scratch, plan_.precision);
  }
  assert(arena_.lent_bytes() == plan_.bytes.arena());
}

void Engine::start_host() {
  HostStore vectors(layout_.vector_floats * sizeof(float));
  vectors.pin(device_);
  const auto* from = reinterpret_cast<const std::byte*>(weights_.vectors);
  device_.copy(*compute_, Direction::kToHost, vectors.data(), from, vectors.size_bytes());
  wait_for_compute();
  const auto* begin = reinterpret_cast<const float*>(vectors.data());
  host_ = std::make_unique<HostWorker>(layout_, plan_,
                                       std::vector<float>(begin, begin + layout_.vector_floats),
                                       options_.host_pace, device_);
  if (warning_.empty()) warning_ = host_->warning();
}

void Engine::feed(std::span<const Feed> feeds) {
  run(feeds, nullptr);
}

void Engine::score(std::span<const Feed> feeds, const LogitsSink& sink) {
  const RowSink show = [&](std::size_t feed, std::size_t token, std::size_t row) {
    sink(feed, token, logits(row));
  };
  run(feeds, &show);
}

void Engine::score(std::span<const Feed> feeds, const SummarySink& sink) {
  const RowSink show = [&](std::size_t feed, std::size_t token, std::size_t row) {
    sink(feed, token, host_summaries_[row]);
  };
  run(feeds, &show);
}

std::span<const float> Engine::logits(std::size_t row) {
  const std::size_t vocab = layout_.config.vocab;
  const float* from = workspace_.logits + row * vocab;
  if (device_.in_place()) return {from, vocab};
  float* to = host_logits_ + row * vocab;
  fetch(reinterpret_cast<std::byte*>(to), reinterpret_cast<const std::byte*>(from),
        vocab * sizeof(float), schedule_.last_piece());
  wait_for_compute();
  return {to, vocab};
}

void Engine::check(std::span<const Feed> feeds) const {
  assert(feeds.size() <= sequences_.size());
  for (const Feed& feed : feeds) {
    assert(feed.sequence < sequences_.size() && !feed.tokens.empty());
    const std::size_t length = sequences_[feed.sequence].length + feed.tokens.size();
    if (length > plan_.workload.context_tokens) {
      throw Error(ErrorKind::kUsage,
                  text("a sequence of ", length, " tokens doesn't fit the context of ",
                       plan_.workload.context_tokens, "; raise --ctx"));
    }
    for (const std::int32_t token : feed.tokens) {
      if (token < 0 || static_cast<std::size_t>(token) >= layout_.config.vocab) {
        throw Error(ErrorKind::kUsage, text("token ", token, " isn't in the vocabulary of ",
                                            layout_.config.vocab, " tokens"));
      }
    }
  }
}

void Engine::run(std::span<const Feed> feeds, const RowSink* sink) {
  assert(sink == nullptr || plan_.workload.all_logits);
  check(feeds);
  const double begin = now_seconds();
  std::size_t total = 0;
  for (const Feed& feed : feeds) total += feed.tokens.size();
  std::size_t fed = 0;
  std::size_t finished = 0;  // feeds whose logits have been asked for
  builder_.begin(feeds, sink != nullptr);
  Half* half = nullptr;
  while (!builder_.done()) {
    if (options_.stop != nullptr && options_.stop->load(std::memory_order_relaxed)) {
      throw Interrupted{};
    }
    const std::size_t index = counters_.passes++ % 2;
    half = &halves_[index];
    half->done->synchronize();
    trace_.settle(half->mark);
    std::byte* staged = staging_.data() + index * input_bytes_;
    PassShape shape = builder_.next(staged);
    if (sink == nullptr) shape.first_row = finished;
    Span* const span = trace_.open_pass(builder_.size_of(shape));
    if (span != nullptr) compute_->stamp(&span->begin_seconds);
    run_pass(shape, staged, sink == nullptr);
    if (span != nullptr) compute_->stamp(&span->end_seconds);
    compute_->record(*half->done);
    half->mark = trace_.mark();
    fed += shape.tokens;
    finished += shape.logit_rows;
    if (sink != nullptr) {
      half->done->synchronize();
      show_rows(*sink);
    }
    if (options_.on_feed) options_.on_feed(fed, total);
  }
  half->done->synchronize();
  trace_.settle(half->mark);
  counters_.pass_seconds += now_seconds() - begin;
}

void Engine::run_pass(const PassShape& shape, std::byte* staged, bool top) {
  if (has_graph(shape, top)) {
    run_input(shape, staged);
    graph_->launch();
    if (shape.logit_rows > 0) fetch_summaries(shape);
    return;
  }
  const std::size_t route = plan_.route_of(shape.tokens);
  model_->begin_pass(shape, workspace_.input);
  if (disk_ != nullptr) disk_->begin_pass(shape.logit_rows > 0);
  if (host_ != nullptr) {
    host_turn_->synchronize();  // it computes for one pass at a time
    host_->begin_pass(shape, staged);
  }
  const bool copies_cache = cache_slots_ != nullptr && !plan_.host_attends(route);
  if (copies_cache) {
    if (host_attended_) cache_slots_->wait_for_host();
    cache_slots_->begin_pass(builder_.parts(), sequences_);
  }
  host_attended_ = !copies_cache;
  for (const Step& step : passes_[route][shape.logit_rows > 0]) {
    switch (step.kind) {
      case StepKind::kInput:
        run_input(shape, staged);
        break;
      case StepKind::kCopy:
        run_copy(step);
        break;
      case StepKind::kCompute:
        run_compute(step);
        break;
      case StepKind::kHost:
        run_host(step, shape, staged);
        break;
      case StepKind::kAttend:
        run_attend(step);
        break;
      case StepKind::kCopyCache:
        run_copy_cache(step);
        break;
      case StepKind::kAttendCopied:
        run_attend_copied(step);
        break;
      case StepKind::kLogits:
        model_->summarise(*compute_, top);
        fetch_summaries(shape);
        break;
    }
  }
  if (copies_cache) cache_slots_->end_pass();
}

// Whether the pass's computation can be given as a graph. Where it is of a pass like the one
// before, that graph is made here.
bool Engine::has_graph(const PassShape& shape, bool top) {
  if (graph_ == nullptr || !plan_.fits_graph(shape.tokens)) return false;
  // All that launches depend on: they meet keys in whole chunks, and find pages through the input.
  PassShape alike = shape;
  alike.keys = align_up(shape.keys, kChunkPages * kPageTokens);
  alike.table_pages = plan_.largest_pass().table_pages;
  const bool logits = shape.logit_rows > 0;
  return graph_->has({alike, top}, [&] {
    model_->begin_pass(alike, workspace_.input);
    for (const Step& step : passes_[plan_.route_of(shape.tokens)][logits]) {
      if (step.kind != StepKind::kCompute) continue;
      const Piece& piece = schedule_.pieces[step.piece];
      model_->run(*compute_, piece, weights_.units[piece.unit] + piece.begin_bytes);
    }
    if (logits) model_->summarise(*compute_, top);
  });
}

void Engine::run_input(const PassShape& shape, const std::byte* staged) {
  const std::size_t bytes = shape.input_bytes(layout_.config);
  device_.copy(*compute_, Direction::kToDevice, workspace_.input, staged, bytes);
  other_link_bytes_ += bytes;
}

void Engine::fetch_summaries(const PassShape& shape) {
  fetch(reinterpret_cast<std::byte*>(host_summaries_ + shape.first_row),
        reinterpret_cast<const std::byte*>(workspace_.summaries + shape.first_row),
        shape.logit_rows * sizeof(LogitsSummary), schedule_.last_piece());
}

void Engine::run_copy(const Step& step) {
  const Piece& piece = schedule_.pieces[step.piece];
  const bool read = schedule_.on_disk[step.piece];
  const std::byte* from =
      read ? take_read(step.piece) : weights_.units[piece.unit] + piece.begin_bytes;
  streamer_->send(from, piece.size_bytes, trace_.open(Lane::kLink, step.piece));
  if (read) disk_->release(streamer_->link());
}

// Waits for the disk: work that is given behind this waits too.
const std::byte* Engine::take_read(std::uint32_t piece) {
  Span span;
  const std::byte* from = disk_->take(piece, &span);
  if (span.end_seconds > 0.0) trace_.add_disk(piece, span);
  return from;
}

// Tells the trace when the device does what `work` enqueues.
template <typename Work>
void Engine::compute(std::uint32_t piece, bool cache, const Work& work) {
  Span* span = trace_.open(Lane::kCompute, piece, cache);
  compute_->stamp(&span->begin_seconds);
  work();
  compute_->stamp(&span->end_seconds);
}

void Engine::run_compute(const Step& step) {
  const Piece& piece = schedule_.pieces[step.piece];
  const bool streamed = schedule_.outside[step.piece];
  const std::byte* weights =
      streamed ? streamer_->take() : weights_.units[piece.unit] + piece.begin_bytes;
  compute(step.piece, /*cache=*/false, [&] { model_->run(*compute_, piece, weights); });
  if (!streamed) return;
  streamer_->release();
  trace_.took_copy();
}

// The residual stream goes to the host and comes back updated. What is streamed for the units
// behind this one is on its way meanwhile.
void Engine::run_host(const Step& step, const PassShape& shape, std::byte* staged) {
  const std::size_t bytes = shape.tokens * layout_.config.width * sizeof(float);
  std::byte* there = workspace_.input;  // the residual stream comes first in a pass's input
  fetch(staged, there, bytes, step.piece);
  Span* span = trace_.open(Lane::kHost, step.piece);
  const auto run = [&](const Piece& piece, const std::byte* weights) {
    call_host([host = host_.get(), &piece, weights] { host->run(piece, weights); }, span);
  };
  const std::size_t unit = schedule_.pieces[step.piece].unit;
  if (schedule_.on_disk[step.piece]) {
    for (std::uint32_t p = step.piece; p < schedule_.unit[unit + 1]; ++p) {
      run(schedule_.pieces[p], take_read(p));
      disk_->release(*compute_);
    }
  } else {
    run(schedule_.whole[unit], weights_.units[unit]);
  }
  device_.copy(*compute_, Direction::kToDevice, there, staged, bytes);
  other_link_bytes_ += bytes;
}

// The same with rows of queries, keys and values, which come back attended. The copy back is done
// before anything overwrites what it reads: that begins with a copy behind it on the same stream.
void Engine::run_attend(const Step& step) {
  const std::size_t unit = schedule_.pieces[step.piece].unit;
  const std::span<const std::byte> mixed = model_->mixed_rows();
  fetch(host_->mixed_rows().data(), mixed.data(), mixed.size(), step.piece);
  call_host([host = host_.get(), unit] { host->attend(unit); },
            trace_.open(Lane::kHost, step.piece));
  const std::span<const std::byte> attended = host_->attended_rows(unit);
  device_.copy(*compute_, Direction::kToDevice, model_->attended_rows(unit).data(), attended.data(),
               attended.size());
  other_link_bytes_ += attended.size();
}

void Engine::run_copy_cache(const Step& step) {
  Span* span =
      cache_slots_->sends_any() ? trace_.open(Lane::kLink, step.piece, /*cache=*/true) : nullptr;
  cache_slots_->send(host_->cache(schedule_.pieces[step.piece].unit), span);
}

void Engine::run_attend_copied(const Step& step) {
  const std::size_t unit = schedule_.pieces[step.piece].unit;
  std::byte* pages = cache_slots_->take();
  compute(step.piece, /*cache=*/true, [&] { model_->attend(*compute_, unit, pages); });
  cache_slots_->bring_back(host_->cache(unit), trace_.open_download(step.piece, /*cache=*/true));
  if (cache_slots_->sends_any()) trace_.took_copy();
}

// The host does `work` at its turn; `span` goes from the first to the last that it is given for.
template <typename Work>
void Engine::call_host(const Work& work, Span* span) {
  device_.call(*compute_, *host_turn_, HostWork([work, span] {
    if (span->begin_seconds == 0.0) span->begin_seconds = now_seconds();
    work();
    span->end_seconds = now_seconds();
  }));
}

// Copies what the work given so far leaves to the host.
void Engine::fetch(std::byte* to, const std::byte* from, std::size_t bytes, std::uint32_t piece) {
  device_.copy(*compute_, Direction::kToHost, to, from, bytes, trace_.open_download(piece));
  other_link_bytes_ += bytes;
}

void Engine::wait_for_compute() {
  compute_->record(*host_turn_);
  host_turn_->synchronize();
}

void Engine::show_rows(const RowSink& sink) const {
  std::size_t row = 0;
  for (const PassPart& part : builder_.parts()) {
    for (std::size_t t = 0; t < part.tokens; ++t) {
      sink(part.feed, part.first_token + t, row++);
    }
  }
}

std::size_t Engine::link_bytes() const {
  return streamer_->link_bytes() + other_link_bytes_ +
         (cache_slots_ == nullptr ? 0 : cache_slots_->link_bytes());
}

void Engine::truncate(std::size_t sequence, std::size_t length) {
  Sequence& s = sequences_[sequence];
  assert(length <= s.length);
  s.length = length;
  for (; s.pages.size() > ceil_div(length, kPageTokens); s.pages.pop_back()) {
    pages_.give_back(s.pages.back());
  }
}

EngineCounters Engine::counters() const {
  EngineCounters counters = counters_;
  counters.copy_seconds = trace_.copy_seconds();
  counters.compute_seconds = trace_.compute_seconds();
  counters.host_seconds = trace_.host_seconds();
  counters.disk_seconds = trace_.disk_seconds();
  return counters;
}

}  // namespace sluice
