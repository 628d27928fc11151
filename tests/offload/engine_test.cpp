#include "offload/engine.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "memory/units.h"
#include "tests/support/engine_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/reference_data.h"

using namespace sluice;

namespace {

using Sequences = std::vector<std::vector<std::int32_t>>;

Workload workload_for(const Sequences& sequences) {
  Workload w{.sequences = sequences.size(),
             .prompt_tokens = 1,
             .max_tokens = 1,
             .context_tokens = 1,
             .all_logits = true};
  for (const auto& s : sequences) w.context_tokens = std::max(w.context_tokens, s.size());
  w.prompt_tokens = w.context_tokens;
  return w;
}

// `count` sequences of unequal length, made of the reference's tokens.
Sequences unequal_sequences(const TinyReference& reference, std::size_t count) {
  Sequences sequences;
  for (std::size_t s = 0; s < count; ++s) {
    std::vector<std::int32_t> tokens;
    const std::size_t length = 1 + (37 * s + 90) % 131;
    for (std::size_t t = 0; t < length; ++t) {
      tokens.push_back(reference.ids[(t * (s + 1)) % reference.ids.size()]);
    }
    sequences.push_back(std::move(tokens));
  }
  return sequences;
}

// What every plan must give: in place, one token a pass, each sequence alone.
AllLogits plain_truth(const TestModel& model, const Sequences& sequences,
                      std::optional<Precision> precision = {},
                      const std::vector<KvType>& kv_types = {}) {
  AllLogits truth;
  for (const auto& tokens : sequences) {
    const Sequences alone = {tokens};
    const Plan plan = model.plan(
        workload_for(alone),
        {.in_place = true, .segment_tokens = 1, .kv_types = kv_types, .precision = precision});
    truth.push_back(score_all(model, plan, {}, alone, true)[0]);
  }
  return truth;
}

// Runs `plan` and checks all that a limit promises.
void check_plan(const TestModel& model, const Plan& plan, LinkSpeed link,
                const Sequences& sequences, const AllLogits& truth) {
  TestEngine test(model, plan, link);
  std::vector<Feed> feeds;
  for (std::size_t s = 0; s < sequences.size(); ++s) feeds.push_back({s, sequences[s]});
  AllLogits all(sequences.size());
  test.engine.score(feeds, [&](std::size_t feed, std::size_t, std::span<const float> logits) {
    all[feed].insert(all[feed].end(), logits.begin(), logits.end());
  });
  CHECK(all == truth);
  CHECK(test.reserved_bytes == plan.bytes.total());
  CHECK(test.engine.arena().lent_bytes() == plan.bytes.total());
  if (plan.limit_bytes) CHECK(plan.bytes.total() <= *plan.limit_bytes);
}

}  // namespace

TEST_CASE("engine: tiny models of every kind agree with Transformers") {
  for (const TinyReference& reference : tiny_references()) {
    CAPTURE(reference.name);
    const TestModel model(reference.gguf);
    const Sequences sequences = {reference.ids};
    const auto error = [&](KvType kv_type, Precision precision) {
      const PlanLimits limits{.in_place = true, .kv_types = {kv_type}, .precision = precision};
      const Plan plan = model.plan(workload_for(sequences), limits);
      return relative_error(score_all(model, plan, {}, sequences, true)[0], reference.logits);
    };
    const bool quantised = model.layout.takes(ActivationForm::kInt16, Precision::kHigh);
    CHECK(error(KvType::kF32, Precision::kHigh) < (quantised ? 1e-3 : 1e-5));
    CHECK(error(KvType::kF16, Precision::kHigh) < 2e-3);
    CHECK(error(KvType::kQ8_0, Precision::kHigh) < 3e-2);
    const bool wide = !quantised && !model.layout.takes(ActivationForm::kBf16, Precision::kNormal);
    CHECK(error(KvType::kF32, Precision::kNormal) < (wide ? 1e-5 : 6e-2));
  }
}

TEST_CASE("engine: units that the host computes in small passes change no bit of the logits") {
  for (const char* name : {"f32", "quants"}) {
    const TinyReference& reference = tiny_reference(name);
    const TestModel model(reference.gguf);
    const Sequences sequences = unequal_sequences(reference, 3);
    const AllLogits truth = plain_truth(model, sequences);
    const Workload workload = workload_for(sequences);
    for (const std::size_t segment : {1, 5, 64, 512}) {
      PlanLimits limits{
          .slots = 2, .segment_tokens = segment, .host_computes = true, .host_units = 99};
      limits.device_bytes = smallest_limit_bytes(model.layout, workload, limits) + 20'000;
      const Plan plan = model.plan(workload, limits);
      CAPTURE(name);
      CAPTURE(segment);
      CHECK(plan.host_units(1) > 0);
      check_plan(model, plan, {.bytes_per_second = 1e9}, sequences, truth);
    }
  }
}

TEST_CASE("engine: a context that fits with its cache in host memory alone gives the same logits") {
  const TinyReference& reference = tiny_reference("quants");
  const TestModel model(reference.gguf);
  const std::size_t layers = model.layout.config.layers;
  const Sequences sequences = unequal_sequences(reference, 3);
  const AllLogits truth = plain_truth(model, sequences);
  const Workload workload = workload_for(sequences);
  PlanLimits on_device{.host_computes = true, .host_cache_layers = 0};
  const std::size_t with_cache = smallest_limit_bytes(model.layout, workload, on_device);
  std::size_t before = with_cache;
  for (std::size_t count = 1; count <= layers; ++count) {
    CAPTURE(count);
    PlanLimits limits{.host_cache_layers = count};
    const std::size_t smallest = smallest_limit_bytes(model.layout, workload, limits);
    CHECK(smallest < before);
    before = smallest;
    limits.device_bytes = smallest;
    const Plan plan = model.plan(workload, limits);
    CHECK(plan.host_kv.layers == count);
    CHECK(plan.host_bytes.cache == count * plan.host_kv.layer_bytes());
    check_plan(model, plan, {.bytes_per_second = 1e9}, sequences, truth);
  }
  const PlanLimits open{.device_bytes = before, .host_computes = true};
  CHECK(smallest_limit_bytes(model.layout, workload, open) == before);
  check_plan(model, model.plan(workload, open), {}, sequences, truth);
  on_device.device_bytes = with_cache - 1;
  const testing::Failure failure = testing::failure_of([&] { model.plan(workload, on_device); });
  CHECK(failure.kind == ErrorKind::kOverBudget);
  CHECK(failure.says("--host-cache"));
}

// Passes of up to so many tokens leave attending to the host; pages go to the device for others.
TEST_CASE("engine: whichever side attends to caches in host memory, the same logits") {
  for (const KvType kv : {KvType::kF16, KvType::kQ8_0}) {
    const TinyReference& reference = tiny_reference("quants");
    const TestModel model(reference.gguf);
    const Sequences sequences = unequal_sequences(reference, 3);
    const AllLogits truth = plain_truth(model, sequences, {}, {kv});
    const Workload workload = workload_for(sequences);
    const std::size_t layers = model.layout.config.layers;
    for (std::size_t count = 1; count <= layers; ++count) {
      for (const std::size_t slots : {1, 2}) {
        for (const std::size_t segment : {1, 7, 512}) {
          PlanLimits limits{.segment_tokens = segment,
                            .kv_types = {kv},
                            .host_cache_layers = count,
                            .cache_slots = slots};
          const std::size_t smallest = smallest_limit_bytes(model.layout, workload, limits);
          limits.device_bytes = smallest + (count + slots) % 2 * 30'000;
          Plan plan = model.plan(workload, limits);
          const std::size_t all = plan.bytes.kv + plan.bytes.cache_slots;
          CHECK(plan.cache_slots == std::min(slots, count));
          CHECK(all == (layers - count + plan.cache_slots) * plan.kv.layer_bytes());
          for (const std::size_t host_tokens : {0, 1, 4}) {
            CAPTURE(count);
            CAPTURE(slots);
            CAPTURE(segment);
            CAPTURE(host_tokens);
            plan.routes.clear();
            if (host_tokens > 0) {
              plan.routes.push_back({.tokens = host_tokens,
                                     .by_host = std::vector<bool>(plan.placement.size()),
                                     .host_attends = true});
            }
            count_bytes(model.layout, plan);
            check_plan(model, plan, {.bytes_per_second = 2e9}, sequences, truth);
          }
        }
      }
    }
  }
}

TEST_CASE("engine: no limit, slot count, segment or batch changes a bit of the logits") {
  const std::pair<const char*, std::vector<KvType>> models[] = {
      {"f32", {}}, {"quants", {}}, {"f32_head24", {KvType::kQ8_0}}, {"quants", {KvType::kQ8_0}}};
  for (const auto& [name, kv_types] : models) {
    const TinyReference& reference = tiny_reference(name);
    const TestModel model(reference.gguf);
    for (const std::size_t count : {1, 3, 8}) {
      const Sequences sequences = unequal_sequences(reference, count);
      const AllLogits truth = plain_truth(model, sequences, {}, kv_types);
      const Workload workload = workload_for(sequences);
      std::size_t step = 0;
      for (const std::size_t segment : {1, 7, 64, 512}) {
        for (const std::size_t slots : {2, 3, 4}) {
          PlanLimits limits{.slots = slots, .segment_tokens = segment, .kv_types = kv_types};
          const std::size_t smallest = smallest_limit_bytes(model.layout, workload, limits);
          const std::size_t everything = model.plan(workload, limits).bytes.total();
          // Each combination at one of 25 limits, the ends included, so that all are met.
          step = (step + 7) % 25;
          const std::size_t limit = smallest + (everything - smallest) * step / 24;
          CAPTURE(name);
          CAPTURE(count);
          CAPTURE(segment);
          CAPTURE(slots);
          CAPTURE(limit);
          limits.device_bytes = limit;
          check_plan(model, model.plan(workload, limits), {}, sequences, truth);
        }
      }
    }
  }
}

TEST_CASE("engine: at each of 25 limits, from the smallest to all resident, the same logits") {
  const TinyReference& reference = tiny_reference("quants");
  const TestModel model(reference.gguf);
  const Sequences sequences = unequal_sequences(reference, 3);
  const AllLogits truth = plain_truth(model, sequences);
  const Workload workload = workload_for(sequences);
  const std::size_t smallest = smallest_limit_bytes(model.layout, workload, {});
  const std::size_t everything = model.plan(workload, {.segment_tokens = 512}).bytes.total();
  for (std::size_t i = 0; i < 25; ++i) {
    const std::size_t limit = smallest + (everything - smallest) * i / 24;
    CAPTURE(limit);
    const LinkSpeed link{.bytes_per_second = i % 3 == 0 ? 0.0 : 4e9, .latency_seconds = 2e-6};
    check_plan(model, model.plan(workload, {.device_bytes = limit}), link, sequences, truth);
  }
}

TEST_CASE("engine: 25 limits x slots x segments x batches x links give one answer" *
          doctest::test_suite("slow")) {
  const TinyReference& reference = tiny_reference("quants");
  const TestModel model(reference.gguf);
  for (const std::size_t count : {1, 3, 8}) {
    const Sequences sequences = unequal_sequences(reference, count);
    const AllLogits truth = plain_truth(model, sequences);
    const Workload workload = workload_for(sequences);
    for (const std::size_t segment : {1, 7, 64, 512}) {
      for (const std::size_t slots : {2, 3, 4}) {
        PlanLimits limits{.slots = slots, .segment_tokens = segment};
        const std::size_t smallest = smallest_limit_bytes(model.layout, workload, limits);
        const std::size_t everything = model.plan(workload, limits).bytes.total();
        for (std::size_t i = 0; i < 25; ++i) {
          limits.device_bytes = smallest + (everything - smallest) * i / 24;
          CAPTURE(count);
          CAPTURE(segment);
          CAPTURE(slots);
          CAPTURE(*limits.device_bytes);
          const Plan plan = model.plan(workload, limits);
          for (const double rate : {0.0, 20e9}) {
            check_plan(model, plan, {.bytes_per_second = rate}, sequences, truth);
          }
        }
      }
    }
  }
}

TEST_CASE("engine: random limits, slots, segments, links and batches give the same logits") {
  std::mt19937 random(20261121);
  const auto below = [&](std::size_t n) { return random() % n; };
  const char* names[] = {"f32", "f32_head24", "bf16", "f16", "quants", "k_quants"};
  for (int round = 0; round < 30; ++round) {
    const TinyReference& reference = tiny_reference(names[below(6)]);
    const TestModel model(reference.gguf);
    const Sequences sequences = unequal_sequences(reference, 1 + below(5));
    const Workload workload = workload_for(sequences);
    PlanLimits limits{.slots = 1 + below(5),
                      .segment_tokens = 1 + below(100),
                      .kv_types = {kAllKvTypes[below(kKvTypeCount)]},
                      .precision = below(2) == 0 ? Precision::kNormal : Precision::kHigh};
    if (below(2) == 0) limits.host_cache_layers = below(model.layout.config.layers + 1);
    if (below(2) == 0) limits.cache_slots = below(3);
    const std::size_t smallest = smallest_limit_bytes(model.layout, workload, limits);
    limits.device_bytes = smallest + below(400000);
    const LinkSpeed link{.bytes_per_second = below(2) == 0 ? 0.0 : 1e9 + below(1000) * 1e7,
                         .latency_seconds = 1e-6 * below(20)};
    CAPTURE(round);
    CAPTURE(reference.name);
    CAPTURE(*limits.device_bytes);
    CAPTURE(*limits.slots);
    CAPTURE(*limits.segment_tokens);
    check_plan(model, model.plan(workload, limits), link, sequences,
               plain_truth(model, sequences, limits.precision, limits.kv_types));
  }
}

TEST_CASE("engine: the smallest limit that is named works, one byte less is refused") {
  for (const TinyReference& reference : tiny_references()) {
    CAPTURE(reference.name);
    const TestModel model(reference.gguf);
    const Sequences sequences = {reference.ids};
    const Workload workload = workload_for(sequences);
    const std::size_t smallest = smallest_limit_bytes(model.layout, workload, {});
    const AllLogits truth = plain_truth(model, sequences);
    check_plan(model, model.plan(workload, {.device_bytes = smallest}), {}, sequences, truth);
    const testing::Failure failure =
        testing::failure_of([&] { model.plan(workload, {.device_bytes = smallest - 1}); });
    CHECK(failure.kind == ErrorKind::kOverBudget);
    CHECK(failure.says(std::to_string(smallest)));
  }
}

TEST_CASE("engine: what is truncated and fed again gives the same logits") {
  const TinyReference& reference = tiny_reference("f32");
  const TestModel model(reference.gguf);
  const Workload workload{.sequences = 2, .prompt_tokens = 40, .context_tokens = 200};
  const Plan plan = model.plan(workload, {});
  TestEngine test(model, plan);
  const std::span<const std::int32_t> ids = reference.ids;
  const Feed whole{0, ids};
  test.engine.feed({&whole, 1});
  const std::vector<float> truth(test.engine.logits(0).begin(), test.engine.logits(0).end());
  const std::vector<std::int32_t> other(150, 7);
  const Feed noise{0, other};
  for (const std::size_t keep : {0, 1, 20, 39}) {
    CAPTURE(keep);
    test.engine.feed({&noise, 1});
    test.engine.truncate(0, keep);
    const Feed rest{0, ids.subspan(keep)};
    test.engine.feed({&rest, 1});
    CHECK(std::equal(truth.begin(), truth.end(), test.engine.logits(0).begin()));
    test.engine.truncate(0, ids.size());
    CHECK(test.engine.length(0) == ids.size());
  }
}

TEST_CASE("engine: a token or a length that can't be is refused, and nothing is fed") {
  const TestModel model(tiny_reference("f32").gguf);
  const Workload workload{.sequences = 1, .prompt_tokens = 8, .context_tokens = 8};
  TestEngine test(model, model.plan(workload, {}));
  const auto feed = [&](std::vector<std::int32_t> tokens) {
    const Feed one{0, tokens};
    test.engine.feed({&one, 1});
  };
  const auto refusal = [&](std::vector<std::int32_t> tokens) {
    return testing::failure_of([&] { feed(tokens); });
  };
  CHECK(refusal({1, -1}).says("-1"));
  CHECK(refusal({264}).says("264"));
  CHECK(refusal({1, 2, 3, 4, 5, 6, 7, 8, 9}).says("--ctx"));
  CHECK(test.engine.length(0) == 0);
  feed({1, 2, 3, 4, 5, 6, 7, 8});
  CHECK(test.engine.length(0) == 8);
}
