#include <cstdio>
#include <iostream>
#include <optional>

#include "cli/chat_template.h"
#include "cli/commands.h"
#include "cli/given_plan.h"
#include "cli/interrupt.h"
#include "cli/output_file.h"
#include "cli/process_clock.h"
#include "cli/progress.h"
#include "cli/prompt.h"
#include "cli/report.h"
#include "cli/session.h"
#include "cli/timeline.h"
#include "cli/tokenizer.h"
#include "cli/trace_report.h"
#include "layers/sampler.h"
#include "memory/clock.h"
#include "memory/error.h"

namespace sluice {
namespace {

// Of a conversation without --ctx: unless the model or the limit says less.
constexpr std::size_t kChatContextTokens = 4096;
constexpr std::size_t kLeastChatContextTokens = 512;

void note(const RunOptions& options, const std::string& line) {
  if (!options.quiet) std::cerr << "sluice: " << line << '\n';
}

class Run {
 public:
  explicit Run(const RunOptions& options)
      : options_(options),
        interrupted_(interrupt_on_ctrl_c()),
        model_(options.on.model),
        given_(read_given_plan(options.on, model_.layout)),
        tokenizer_(Tokenizer::make(model_.file)) {
    if (tokenizer_->vocab_size() > model_.layout.config.vocab) {
      throw Error(ErrorKind::kBadFile,
                  text(options.on.model, ": the vocabulary has ", tokenizer_->vocab_size(),
                       " tokens, the model's embedding has ", model_.layout.config.vocab));
    }
  }

  int run() {
    try {
      options_.chat ? chat() : once();
    } catch (const Interrupted&) {
      exit_code_ = kExitInterrupted;
    }
    finish();
    return exit_code_;
  }

 private:
  void once() {
    const std::optional<std::string> prompt = read_prompt(options_);
    if (!prompt) throw Error(ErrorKind::kUsage, "no prompt; give -p TEXT, -f FILE or --chat");
    const std::vector<Token> tokens = encode(*prompt);
    if (tokens.empty()) throw Error(ErrorKind::kUsage, "the prompt is empty");
    const std::size_t wanted = tokens.size() + options_.max_tokens;
    if (given_ && wanted > context_given()) {
      throw Error(ErrorKind::kUsage,
                  text("the prompt has ", tokens.size(), " tokens, --max-tokens is ",
                       options_.max_tokens, ", and the plan has room for ", context_given(),
                       "; lower --max-tokens, or make a plan with a larger --ctx"));
    }
    const std::size_t context =
        given_ ? context_given() : options_.on.context_tokens.value_or(wanted);
    if (tokens.size() >= context) {
      throw Error(ErrorKind::kUsage, text("the prompt has ", tokens.size(), " tokens, --ctx is ",
                                          context, "; it needs one more at least"));
    }
    load({.prompt_tokens = tokens.size(),
          .max_tokens = std::min(options_.max_tokens, context - tokens.size()),
          .context_tokens = context},
         find_target());
    generate(tokens);
    std::cout << '\n';
  }

  // Lines of standard input are the user's turns. What is cached of the conversation stays.
  void chat() {
    if (options_.ids || options_.raw || !options_.logits_file.empty()) {
      throw Error(ErrorKind::kUsage, "--chat can't be combined with --ids, --raw or --logits");
    }
    Conversation conversation(model_.file, *tokenizer_, options_.system);
    const Target target = find_target();
    load(chat_workload(target.limits), target);
    std::optional<std::string> turn = read_prompt(options_);
    while (true) {
      if (!turn) {
        std::cerr << "> " << std::flush;
        std::string line;
        if (!std::getline(std::cin, line) || interrupted_.load()) break;
        turn = line;
      }
      if (!turn->empty()) answer(*turn, conversation);
      turn.reset();
    }
    if (interrupted_.load()) exit_code_ = kExitInterrupted;
  }

  // With as much context as the limit holds, where none was asked for.
  Workload chat_workload(const PlanLimits& limits) const {
    const auto with_context = [&](std::size_t context) -> Workload {
      return {.prompt_tokens = std::min<std::size_t>(context, 256),
              .max_tokens = std::min(context, options_.max_tokens),
              .context_tokens = context};
    };
    if (given_) return with_context(context_given());
    if (options_.on.context_tokens) return with_context(*options_.on.context_tokens);
    const std::size_t wanted = std::min(model_.layout.config.context_tokens, kChatContextTokens);
    std::size_t context = wanted;
    while (context / 2 >= kLeastChatContextTokens &&
           !has_plan(model_.layout, with_context(context), limits)) {
      context /= 2;
    }
    if (context < wanted) {
      note(options_, text("a context of ", context, " tokens: the limit has no room for ",
                          2 * context, "; --ctx N asks for another"));
    }
    return with_context(context);
  }

  // Takes a turn of the user's, and prints and adds the reply. One that is too long is refused and
  // leaves everything as it was.
  void answer(const std::string& turn, Conversation& conversation) {
    Conversation longer = conversation;
    longer.add("user", turn);
    const std::size_t messages = longer.size();
    const std::vector<Token> tokens = remembered(longer);
    const std::size_t context = plan_.workload.context_tokens;
    if (tokens.size() >= context) {
      std::cerr << text("sluice: with this message the prompt has ", tokens.size(),
                        " tokens, which fills the context of ", context,
                        "; send a shorter one, or start anew with a larger --ctx\n");
      return;
    }
    if (longer.size() < messages) {
      note(options_, text("the conversation fills the context of ", context, " tokens: the first ",
                          messages - longer.size(), " of its messages are left out"));
    }
    conversation = std::move(longer);
    conversation.add("assistant", generate(tokens));
    std::cout << std::endl;
  }

  // A conversation's tokens. What would leave no room for a reply loses its oldest turns until it
  // takes half of the context: what is left has to be read again, so that should be seldom.
  std::vector<Token> remembered(Conversation& conversation) const {
    const std::size_t context = plan_.workload.context_tokens;
    const std::size_t reply = std::min(options_.max_tokens, context / 4);
    std::vector<Token> tokens = conversation.encode();
    if (tokens.size() + reply <= context) return tokens;
    while (tokens.size() > context / 2 && conversation.forget_turn()) {
      tokens = conversation.encode();
    }
    return tokens;
  }

  std::vector<Token> encode(const std::string& prompt) const {
    if (options_.ids) return parse_ids(prompt);
    const bool has_template = model_.file.find_string("tokenizer.chat_template").has_value();
    if (options_.raw || !has_template) {
      if (!options_.raw)
        note(options_, "the model has no chat template: the prompt is taken as it is");
      if (options_.system) throw Error(ErrorKind::kUsage, "--system needs a chat template");
      return tokenizer_->encode(prompt, {.add_special = true, .parse_special = true});
    }
    Conversation conversation(model_.file, *tokenizer_, options_.system);
    conversation.add("user", prompt);
    return conversation.encode();
  }

  Target find_target() const {
    Target target = choose_target(given_ ? given_->on : options_.on, model_.layout);
    if (!target.note.empty()) note(options_, target.note);
    return target;
  }

  void load(const Workload& workload, const Target& target) {
    if (workload.context_tokens > model_.layout.config.context_tokens) {
      note(options_, text("a context of ", workload.context_tokens, " tokens is more than the ",
                          model_.layout.config.context_tokens, " that the model was trained for"));
    }
    plan_ = given_ ? take_given(target) : plan_for(model_, workload, target, &hardware_);
    if (!options_.logits_file.empty()) {
      logits_.emplace(options_.logits_file, model_.layout.config.vocab);
    }
    ProgressBar bar("loading", true, options_.quiet);
    EngineOptions engine_options;
    engine_options.on_load = bar.updater();
    engine_options.on_feed = [this](std::size_t done, std::size_t total) {
      if (prefill_bar_) prefill_bar_->update(done, total);
    };
    engine_options.stop = &interrupted_;
    engine_options.trace = !options_.trace_file.empty() || !options_.timeline_file.empty();
    loaded_.emplace(model_, plan_, target, engine_options);
    bar.finish();
    figures_.load_seconds = loaded_->engine.load_seconds();
    if (given_) predict_for(workload);
    if (!loaded_->engine.warning().empty()) note(options_, loaded_->engine.warning());
  }

  std::size_t context_given() const { return given_->plan.workload.context_tokens; }

  Plan take_given(const Target& target) {
    Plan plan = given_->fit(target);
    hardware_ = hardware_for(model_, target);
    return plan;
  }

  // A given plan may have been made for other work, and on another machine: what the report holds
  // against what was measured is predicted for this.
  void predict_for(const Workload& workload) {
    plan_.workload.sequences = 1;
    plan_.workload.prompt_tokens = workload.prompt_tokens;
    plan_.workload.max_tokens = workload.max_tokens;
    plan_.predicted = predict(model_.layout, plan_, make_schedule(model_.layout, plan_), hardware_);
  }

  // Feeds what of `tokens` isn't cached yet, then prints a reply as it comes, and returns it.
  std::string generate(const std::vector<Token>& tokens) {
    Engine& engine = loaded_->engine;
    const std::size_t cached = common_prefix(tokens);
    engine.truncate(0, cached);
    history_.resize(cached);
    Sampler sampler(options_.sampling);
    sampler.accept(tokens);
    prefill({tokens.data() + cached, tokens.size() - cached});

    std::string reply;
    Utf8Stream shown;
    for (std::size_t count = 1;; ++count) {
      const Token token = pick(sampler);
      if (figures_.generated_tokens++ == 0) figures_.start_seconds = seconds_since_exec();
      const bool ends = tokenizer_->ends_reply(token) && !options_.ignore_eos;
      if (!ends || options_.ids) show(token, reply, shown);
      if (ends || count == options_.max_tokens ||
          engine.length(0) == plan_.workload.context_tokens) {
        break;
      }
      decode(token);
    }
    std::cout << (options_.ids ? "" : shown.finish()) << std::flush;
    return reply;
  }

  // From the logits' summary where that suffices and nobody asked for the logits themselves.
  Token pick(Sampler& sampler) {
    Engine& engine = loaded_->engine;
    if (!logits_) {
      if (const std::optional<Token> picked = sampler.sample(engine.summary(0))) return *picked;
    }
    const std::span<const float> logits = engine.logits(0);
    if (logits_) logits_->append(logits);
    return sampler.sample(logits);
  }

  void prefill(std::span<const Token> tokens) {
    const double begin = now_seconds();
    prefill_bar_.emplace("reading the prompt", false, options_.quiet);
    feed(tokens);
    prefill_bar_.reset();
    figures_.prefill_seconds += now_seconds() - begin;
    figures_.prompt_tokens += tokens.size();
  }

  void decode(Token token) {
    const EngineCounters before = loaded_->engine.counters();
    const double begin = now_seconds();
    feed({&token, 1});
    figures_.decode_seconds += now_seconds() - begin;
    const EngineCounters after = loaded_->engine.counters();
    const auto add = [&](Lane lane, double EngineCounters::*seconds) {
      figures_.decode_lanes[static_cast<std::size_t>(lane)] += after.*seconds - before.*seconds;
    };
    add(Lane::kCompute, &EngineCounters::compute_seconds);
    add(Lane::kLink, &EngineCounters::copy_seconds);
    add(Lane::kHost, &EngineCounters::host_seconds);
    add(Lane::kDisk, &EngineCounters::disk_seconds);
    ++figures_.decode_passes;
  }

  void feed(std::span<const Token> tokens) {
    const Feed feed{0, tokens, sum_temperature(options_.sampling)};
    loaded_->engine.feed({&feed, 1});
    history_.insert(history_.end(), tokens.begin(), tokens.end());
  }

  void show(Token token, std::string& reply, Utf8Stream& shown) const {
    if (options_.ids) {
      std::cout << token << ' ' << std::flush;
      return;
    }
    const std::string piece = tokenizer_->piece(token, false);
    reply += piece;
    std::cout << shown.push(piece) << std::flush;
  }

  // Of the cache and `tokens`; at least one token is left to feed, since its logits are wanted.
  std::size_t common_prefix(const std::vector<Token>& tokens) const {
    std::size_t n = 0;
    while (n < history_.size() && n + 1 < tokens.size() && history_[n] == tokens[n]) ++n;
    return n;
  }

  void finish() {
    if (!loaded_) return;
    prefill_bar_.reset();
    const PassPredictor predictor(model_.layout, plan_, hardware_);
    const Timeline decode = predictor.pass(decode_pass_size(plan_));
    figures_.predicted_decode_lanes = lane_seconds(decode.entries, decode.passes.front().span);
    if (!options_.quiet) {
      std::cout << std::flush;
      std::cerr << '\n' << print_report(*loaded_, model_.layout, plan_, figures_);
    }
    if (logits_) logits_->commit();
    if (!options_.stats_file.empty()) {
      write_file(options_.stats_file, print_stats(*loaded_, model_.layout, plan_, figures_));
    }
    if (!options_.trace_file.empty()) {
      write_file(options_.trace_file, print_trace(predictor, loaded_->engine.trace()));
    }
    if (!options_.timeline_file.empty() && !loaded_->engine.trace().passes().empty()) {
      write_file(options_.timeline_file,
                 draw_timeline(predictor, loaded_->engine.trace(), file_name(options_.on.model),
                               picture_subtitle(plan_, options_.on.link)));
    }
  }

  const RunOptions& options_;
  const std::atomic<bool>& interrupted_;
  OpenModel model_;
  std::optional<GivenPlan> given_;
  std::unique_ptr<Tokenizer> tokenizer_;
  Plan plan_;
  Hardware hardware_;
  std::optional<NpyFile> logits_;
  std::optional<ProgressBar> prefill_bar_;
  std::optional<LoadedModel> loaded_;
  std::vector<Token> history_;  // what is cached
  RunFigures figures_;
  int exit_code_ = 0;
};

}  // namespace

int run_command(const RunOptions& options) {
  return Run(options).run();
}

}  // namespace sluice
