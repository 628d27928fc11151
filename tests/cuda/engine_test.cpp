// The engine on the emulated GPU, held against the same engine on the simulated device.
#include "offload/engine.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/cuda/engine_fixture_cuda.h"
#include "tests/support/summary_referee.h"

using namespace sluice;
using namespace sluice::testing;

namespace {

constexpr std::size_t kGenerated = 24;
constexpr std::size_t kLimits = 10;

bool is_all_f32(const TestModel& model) {
  for (const UnitInfo& unit : model.layout.units) {
    for (const MatrixInfo& matrix : unit.matrices) {
      if (matrix.type() != DType::kF32) return false;
    }
  }
  return true;
}

// How far logits may be from sim's, relative to their size. Both devices round activations and keys
// alike, but sums differ in their last bits, and a value that falls to the other side of a rounding
// is a step off: by its form's step, and all that follows a little. Of normal precision the GPU's
// prefill takes halves, too.
double tolerance(const TestModel& model, const Plan& plan) {
  const bool high = plan.precision == Precision::kHigh;
  // Keys and values have larger steps, too.
  if (plan.kv.type == KvType::kQ8_0) return high ? 1e-2 : 0.15;
  if (model.layout.takes(ActivationForm::kInt16, Precision::kHigh)) return high ? 1e-3 : 6e-2;
  if (!is_all_f32(model)) return high ? 1e-3 : 1e-2;
  return 2e-5;
}

// Within that tolerance the choice of tokens is sim's; that of normal precision is too wide.
bool chooses_alike(const TestModel& model, const Plan& plan) {
  return tolerance(model, plan) <= 1e-3;
}

struct AtSmallestLimit {
  AtSmallestLimit(const TestModel& model, const Workload& workload, std::size_t segment_tokens)
      : gpu(open_gpu(0)),
        plan(smallest_plan(model, workload, segment_tokens, *gpu)),
        engine(model.file, model.layout, plan, gpu->device(), gpu->ops(), {}) {}

  static Plan smallest_plan(const TestModel& model, const Workload& workload,
                            std::size_t segment_tokens, const Gpu& gpu) {
    PlanLimits limits = limits_on(gpu);
    limits.segment_tokens = segment_tokens;
    limits.device_bytes = smallest_limit_bytes(model.layout, workload, limits);
    return model.plan(workload, limits);
  }

  std::unique_ptr<Gpu> gpu;
  Plan plan;
  Engine engine;
};

Generated on_sim(const TestModel& model, const PlanLimits& limits,
                 const std::vector<std::int32_t>& prompt) {
  const Plan plan = model.plan(generating(prompt.size(), kGenerated), limits);
  TestEngine test(model, plan);
  return generate(test.engine, prompt, kGenerated);
}

// At limit `index` of kLimits, from the smallest to everything resident.
void check_at_limit(const TestModel& model, PlanLimits limits, std::size_t index,
                    const std::vector<std::int32_t>& prompt, const Generated& truth,
                    const fake_cuda::Machine& machine) {
  fake_cuda::reset(machine);
  std::size_t limit = 0;
  {
    const std::unique_ptr<Gpu> gpu = open_gpu(0);
    limits = limits_on(*gpu, limits);
    const Workload workload = generating(prompt.size(), kGenerated);
    const std::size_t smallest = smallest_limit_bytes(model.layout, workload, limits);
    const std::size_t everything = model.plan(workload, limits).bytes.total();
    limit = smallest + (everything - smallest) * index / (kLimits - 1);
    CAPTURE(limit);
    limits.device_bytes = limit;
    const Plan plan = model.plan(workload, limits);
    Engine engine(model.file, model.layout, plan, gpu->device(), gpu->ops(), {});
    CHECK(engine.warning().empty());
    const Generated got = generate(engine, prompt, kGenerated, &truth);
    if (chooses_alike(model, plan)) CHECK(got.tokens == truth.tokens);
    double worst = 0.0;
    for (std::size_t i = 0; i < kGenerated; ++i) {
      const double error = relative_error(got.logits[i], truth.logits[i]);
      worst = std::isnan(error) ? INFINITY : std::max(worst, error);
    }
    CHECK(worst < tolerance(model, plan));
    CHECK(plan.bytes.total() <= limit);
  }
  CHECK(fake_cuda::peak_bytes() <= limit);
  check_clean();
}

void check_at_each_limit(const std::string& name) {
  CAPTURE(name);
  const TinyReference& reference = tiny_reference(name);
  const TestModel model(reference.gguf);
  const std::vector<std::int32_t> prompt = prompt_of(reference, 70);
  const Generated truth = on_sim(model, {}, prompt);
  for (std::size_t index = 0; index < kLimits; ++index) {
    CAPTURE(index);
    check_at_limit(model, {}, index, prompt, truth, {.seed = 100 + index});
  }
}

}  // namespace

TEST_CASE("engine on a GPU: tiny models of every kind answer as sim does, at the ends of limits" *
          doctest::test_suite("slow")) {
  const std::vector<KvType> quantised = {KvType::kQ8_0};
  const std::pair<Precision, std::vector<KvType>> kinds[] = {{Precision::kNormal, {}},
                                                             {Precision::kHigh, {}},
                                                             {Precision::kNormal, quantised},
                                                             {Precision::kHigh, quantised}};
  std::size_t seed = 1;
  for (const TinyReference& reference : tiny_references()) {
    CAPTURE(reference.name);
    const TestModel model(reference.gguf);
    const std::vector<std::int32_t> prompt = prompt_of(reference, 40);
    for (const auto& [precision, kv_types] : kinds) {
      CAPTURE(precision_name(precision));
      CAPTURE(kv_types.size());
      PlanLimits limits;
      limits.precision = precision;
      limits.kv_types = kv_types;
      const Generated truth = on_sim(model, limits, prompt);
      for (const std::size_t index : {std::size_t{0}, kLimits - 1}) {
        check_at_limit(model, limits, index, prompt, truth, {.seed = seed++});
      }
    }
  }
}

TEST_CASE("engine on a GPU: at each of 10 limits the tokens are sim's, however streams dawdle") {
  check_at_each_limit("quants");
}

TEST_CASE("engine on a GPU: at each of 10 limits other models' tokens are sim's, too" *
          doctest::test_suite("slow")) {
  for (const char* name : {"f32", "bf16", "k_quants"}) check_at_each_limit(name);
}

TEST_CASE("engine on a GPU: segments, slots and orders of threads change no token") {
  const TinyReference& reference = tiny_reference("quants");
  const TestModel model(reference.gguf);
  const std::vector<std::int32_t> prompt = prompt_of(reference, 70);
  const Generated truth = on_sim(model, {}, prompt);
  using emulation::Order;
  std::size_t seed = 1;
  for (const std::size_t segment : {1, 16, 17, 33}) {
    for (const std::size_t slots : {1, 2, 3}) {
      CAPTURE(segment);
      CAPTURE(slots);
      const Order order = slots == 1   ? Order::kForward
                          : slots == 2 ? Order::kReverse
                                       : Order::kRandom;
      emulation::set_order(order, seed);
      PlanLimits limits;
      limits.segment_tokens = segment;
      limits.slots = slots;
      check_at_limit(model, limits, 0, prompt, truth, {.seed = seed++});
    }
  }
  emulation::reset_order();
}

TEST_CASE("engine on a GPU: a prompt of several chunks of keys is met as sim meets it") {
  const TinyReference& reference = tiny_reference("k_quants");
  const TestModel model(reference.gguf);
  const std::vector<std::int32_t> prompt = prompt_of(reference, 530);
  PlanLimits limits;
  limits.segment_tokens = 90;
  const Generated truth = on_sim(model, limits, prompt);
  for (const std::size_t index : {std::size_t{0}, kLimits - 1}) {
    check_at_limit(model, limits, index, prompt, truth, {.seed = 5 + index});
  }
}

TEST_CASE("engine on a GPU: sequences of unequal length in one batch score as they do on sim") {
  for (const char* name : {"f32_head24", "quants"}) {
    CAPTURE(name);
    const TinyReference& reference = tiny_reference(name);
    const TestModel model(reference.gguf);
    std::vector<std::vector<std::int32_t>> sequences;
    for (const std::size_t length : {3, 70, 1, 20}) {
      sequences.push_back(prompt_of(reference, length));
    }
    const Workload workload{.sequences = sequences.size(),
                            .prompt_tokens = 70,
                            .max_tokens = 1,
                            .context_tokens = 70,
                            .all_logits = true};
    const AllLogits truth = score_all(model, model.plan(workload, {}), {}, sequences);
    for (const std::size_t segment : {5, 16, 50}) {
      CAPTURE(segment);
      fake_cuda::reset({.seed = segment});
      {
        AtSmallestLimit on_gpu(model, workload, segment);
        Engine& engine = on_gpu.engine;
        std::vector<Feed> feeds;
        for (std::size_t s = 0; s < sequences.size(); ++s) feeds.push_back({s, sequences[s]});
        AllLogits all(sequences.size());
        engine.score(feeds, [&](std::size_t feed, std::size_t, std::span<const float> logits) {
          all[feed].insert(all[feed].end(), logits.begin(), logits.end());
        });
        for (std::size_t s = 0; s < sequences.size(); ++s) {
          CAPTURE(s);
          CHECK(relative_error(all[s], truth[s]) < tolerance(model, on_gpu.plan));
          engine.truncate(s, 0);
        }
        const std::size_t vocab = model.layout.config.vocab;
        engine.score(feeds, [&](std::size_t s, std::size_t t, const LogitsSummary& summary) {
          const bool last = t + 1 == sequences[s].size();
          check_summary(std::span(all[s]).subspan(t * vocab, vocab),
                        {last ? -1 : sequences[s][t + 1], 1.0f}, false, summary);
        });
      }
      check_clean();
    }
  }
}

TEST_CASE("engine on a GPU: answers are no further from Transformers' than sim's are") {
  for (const TinyReference& reference : tiny_references()) {
    for (const Precision precision : {Precision::kNormal, Precision::kHigh}) {
      CAPTURE(reference.name);
      CAPTURE(precision_name(precision));
      const TestModel model(reference.gguf);
      const std::vector<std::vector<std::int32_t>> sequences = {reference.ids};
      const std::size_t length = reference.ids.size();
      const Workload workload{.sequences = 1,
                              .prompt_tokens = length,
                              .max_tokens = 1,
                              .context_tokens = length,
                              .all_logits = true};
      PlanLimits limits;
      limits.precision = precision;
      const Plan on_sim = model.plan(workload, limits);
      const double sim_error =
          relative_error(score_all(model, on_sim, {}, sequences)[0], reference.logits);
      for (const std::size_t segment : {std::size_t{16}, length}) {
        CAPTURE(segment);
        fake_cuda::reset();
        {
          const std::unique_ptr<Gpu> gpu = open_gpu(0);
          limits.segment_tokens = segment;
          const Plan plan = model.plan(workload, limits_on(*gpu, limits));
          Engine engine(model.file, model.layout, plan, gpu->device(), gpu->ops(), {});
          const Feed feed{0, reference.ids};
          std::vector<float> all;
          engine.score({&feed, 1}, [&](std::size_t, std::size_t, std::span<const float> logits) {
            all.insert(all.end(), logits.begin(), logits.end());
          });
          const double error = relative_error(all, reference.logits);
          // Halves may add what tolerance() says of them.
          const bool halves = precision == Precision::kNormal && !is_all_f32(model);
          CHECK(error < 1.2 * sim_error + (halves ? 3e-3 : 1e-6));
        }
        check_clean();
      }
    }
  }
}

TEST_CASE("engine on a GPU: tokens are sim's with caches in host memory, however many") {
  for (const char* name : {"quants", "bf16"}) {
    CAPTURE(name);
    const TinyReference& reference = tiny_reference(name);
    const TestModel model(reference.gguf);
    const std::vector<std::int32_t> prompt = prompt_of(reference, 70);
    for (const Precision precision : {Precision::kNormal, Precision::kHigh}) {
      CAPTURE(precision_name(precision));
      PlanLimits limits;
      limits.precision = precision;
      const Generated truth = on_sim(model, limits, prompt);
      for (std::size_t layers = 1; layers <= model.layout.config.layers; ++layers) {
        CAPTURE(layers);
        limits.host_cache_layers = layers;
        limits.cache_slots = 0;
        limits.segment_tokens = layers == 1 ? 20 : 70;
        const std::size_t index = layers % 2 == 0 ? kLimits - 1 : 0;
        check_at_limit(model, limits, index, prompt, truth, {.seed = 60 + layers});
      }
    }
  }
}

TEST_CASE("engine on a GPU: tokens are sim's with caches in host memory, attended on either side") {
  const TinyReference& reference = tiny_reference("quants");
  const TestModel model(reference.gguf);
  const std::vector<std::int32_t> prompt = prompt_of(reference, 70);
  PlanLimits limits;
  limits.precision = Precision::kHigh;
  limits.segment_tokens = 20;
  const Generated truth = on_sim(model, limits, prompt);
  std::size_t seed = 80;
  for (std::size_t layers = 1; layers <= model.layout.config.layers; ++layers) {
    for (const std::size_t slots : {1, 2}) {
      for (const bool host_attends : {false, true}) {
        CAPTURE(layers);
        CAPTURE(slots);
        CAPTURE(host_attends);
        fake_cuda::reset({.seed = ++seed});
        {
          const std::unique_ptr<Gpu> gpu = open_gpu(0);
          PlanLimits here = limits_on(*gpu, limits);
          here.host_cache_layers = layers;
          here.cache_slots = slots;
          const Workload workload = generating(prompt.size(), kGenerated);
          here.device_bytes = smallest_limit_bytes(model.layout, workload, here) + 10'000;
          Plan plan = model.plan(workload, here);
          plan.routes.clear();
          if (host_attends) {  // of single tokens; the prompt's segments go to the device
            plan.routes.push_back({.tokens = 1,
                                   .by_host = std::vector<bool>(plan.placement.size()),
                                   .host_attends = true});
          }
          count_bytes(model.layout, plan);
          Engine engine(model.file, model.layout, plan, gpu->device(), gpu->ops(), {});
          CHECK(engine.warning().empty());
          const Generated got = generate(engine, prompt, kGenerated, &truth);
          CHECK(got.tokens == truth.tokens);
          CHECK(plan.bytes.total() <= *here.device_bytes);
        }
        check_clean();
      }
    }
  }
}

TEST_CASE("engine on a GPU: tokens are sim's with units anywhere, on the disk too") {
  for (const char* name : {"quants", "f16"}) {
    CAPTURE(name);
    const TinyReference& reference = tiny_reference(name);
    const TestModel model(reference.gguf);
    const std::vector<std::int32_t> prompt = prompt_of(reference, 30);
    PlanLimits limits;
    limits.precision = Precision::kHigh;
    const Generated truth = on_sim(model, limits, prompt);
    for (const std::size_t buffers : {1, 3}) {
      fake_cuda::reset({.seed = 40 + buffers});
      {
        const std::unique_ptr<Gpu> gpu = open_gpu(0);
        PlanLimits here = limits_on(*gpu, limits);
        here.host_units = 1;
        const Workload workload = generating(prompt.size(), kGenerated);
        here.device_bytes = smallest_limit_bytes(model.layout, workload, here) + 30'000;
        Plan plan = model.plan(workload, here);
        for (std::size_t unit = 0; unit < plan.placement.size(); ++unit) {
          if (is_outside(plan.placement[unit]) && unit % 3 != 0) {
            plan.placement[unit] = Placement::kDisk;
          }
        }
        plan.disk_buffers = buffers;
        plan.disk_buffer_bytes = 2 * plan.slot_bytes;
        plan.cache_on_host(buffers == 1 ? 1 : 0);
        count_bytes(model.layout, plan);
        Engine engine(model.file, model.layout, plan, gpu->device(), gpu->ops(), {});
        const Generated got = generate(engine, prompt, kGenerated, &truth);
        CHECK(got.tokens == truth.tokens);
        CHECK(engine.disk_bytes() > 0);
      }
      check_clean();
    }
  }
}

TEST_CASE("engine on a GPU: rows and summaries are of each feed, in passes of any length") {
  const TinyReference& reference = tiny_reference("f32");
  const TestModel model(reference.gguf);
  std::vector<std::vector<std::int32_t>> sequences;
  for (const std::size_t length : {3, 30, 1, 20}) sequences.push_back(prompt_of(reference, length));
  Workload workload{.sequences = 4, .prompt_tokens = 30, .max_tokens = 1, .context_tokens = 30};
  workload.all_logits = true;
  const AllLogits truth = score_all(model, model.plan(workload, {}), {}, sequences);
  workload.all_logits = false;
  for (const std::size_t segment : {2, 9, 54}) {
    CAPTURE(segment);
    fake_cuda::reset({.seed = segment});
    {
      AtSmallestLimit on_gpu(model, workload, segment);
      Engine& engine = on_gpu.engine;
      std::vector<Feed> feeds;
      for (std::size_t s = 0; s < sequences.size(); ++s) feeds.push_back({s, sequences[s], 1.0f});
      engine.feed(feeds);
      for (std::size_t s = 0; s < sequences.size(); ++s) {
        CAPTURE(s);
        const auto row = engine.logits(s);
        CHECK(relative_error(row, std::span(truth[s]).last(row.size())) <
              tolerance(model, on_gpu.plan));
        check_summary(row, {-1, 1.0f}, true, engine.summary(s));
      }
    }
    check_clean();
  }
}
