#include "tests/support/engine_fixture.h"

namespace sluice {

Hardware test_hardware() {
  Hardware hardware;
  hardware.to_device = {.bytes_per_second = 10e9, .latency_seconds = 5e-6};
  hardware.to_host = hardware.to_device;
  hardware.disk = {.bytes_per_second = 2e9, .latency_seconds = 100e-6};
  for (const DType type : kAllDTypes) {
    hardware.device.products[static_cast<std::size_t>(type)] =
        ProductRate::roofline(type, 40e9, 500e9);
  }
  hardware.device.attention_operations_per_second = 100e9;
  hardware.device.attention_one_token_operations_per_second = 100e9;
  hardware.device.element_seconds = ProductRate::in_proportion(1e-9);
  hardware.device.step_seconds = 2e-6;
  hardware.host = hardware.device;
  return hardware;
}

TestEngine::TestEngine(const TestModel& model, const Plan& plan, LinkSpeed link, bool in_place)
    : device({.in_place = in_place,
              .limit_bytes = plan.limit_bytes.value_or(static_cast<std::size_t>(-1)),
              .to_device = link,
              .to_host = link,
              .on_reserve = [this](std::size_t bytes) { reserved_bytes += bytes; }}),
      engine(model.file, model.layout, plan, device, ops, {}) {}

AllLogits score_all(const TestModel& model, const Plan& plan, LinkSpeed link,
                    std::span<const std::vector<std::int32_t>> sequences, bool in_place) {
  TestEngine test(model, plan, link, in_place);
  std::vector<Feed> feeds;
  for (std::size_t s = 0; s < sequences.size(); ++s) feeds.push_back({s, sequences[s]});
  AllLogits all(sequences.size());
  test.engine.score(feeds, [&](std::size_t feed, std::size_t, std::span<const float> logits) {
    all[feed].insert(all[feed].end(), logits.begin(), logits.end());
  });
  return all;
}

}  // namespace sluice
