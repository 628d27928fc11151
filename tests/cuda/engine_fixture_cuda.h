// Engines on the made-up GPU, and what must hold when they are gone.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "layers/gpu.h"
#include "tests/cuda/emulation.h"
#include "tests/cuda/runtime.h"
#include "tests/support/engine_fixture.h"
#include "tests/support/reference_data.h"

namespace sluice::testing {

struct Generated {
  std::vector<std::int32_t> tokens;
  std::vector<std::vector<float>> logits;  // those that each token was picked by
};

// Feeds the prompt, then the most probable token again and again; or those of `path`.
inline Generated generate(Engine& engine, const std::vector<std::int32_t>& prompt,
                          std::size_t count, const Generated* path = nullptr) {
  Generated out;
  Feed feed{0, prompt};
  std::int32_t next = 0;
  for (std::size_t i = 0; i < count; ++i) {
    engine.feed({&feed, 1});
    const auto logits = engine.logits(0);
    out.logits.emplace_back(logits.begin(), logits.end());
    next =
        static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    CHECK(engine.summary(0).ids[0] == next);
    out.tokens.push_back(next);
    if (path != nullptr) next = path->tokens[i];
    feed.tokens = {&next, 1};
  }
  return out;
}

inline Workload generating(std::size_t prompt_tokens, std::size_t tokens) {
  return {.sequences = 1,
          .prompt_tokens = prompt_tokens,
          .max_tokens = tokens,
          .context_tokens = prompt_tokens + tokens};
}

// `count` tokens, the reference's over and over.
inline std::vector<std::int32_t> prompt_of(const TinyReference& reference, std::size_t count) {
  std::vector<std::int32_t> prompt;
  for (std::size_t i = 0; i < count; ++i) {
    prompt.push_back(reference.ids[i % reference.ids.size()]);
  }
  return prompt;
}

// Plans for the GPU count what its driver takes, which is known once it is open.
inline PlanLimits limits_on(const Gpu& gpu, PlanLimits limits = {}) {
  limits.gpu = true;
  limits.context_bytes = gpu.overhead_bytes();
  return limits;
}

// When everything is closed, nothing is left and nothing was used wrongly.
inline void check_clean() {
  for (const std::string& line : fake_cuda::complaints_at_exit()) FAIL_CHECK(line);
  for (const std::string& line : emulation::violations()) FAIL_CHECK(line);
  emulation::clear_violations();
}

}  // namespace sluice::testing
