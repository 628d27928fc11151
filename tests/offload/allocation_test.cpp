// The steady state allocates nothing: every operator new of this binary is counted.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

#include "tests/support/engine_fixture.h"
#include "tests/support/reference_data.h"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace {

std::atomic<std::size_t> allocations{0};

void* counted(std::size_t bytes, std::size_t alignment) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t bytes) {
  return counted(bytes, alignof(std::max_align_t));
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return counted(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

using namespace sluice;

TEST_CASE("engine: passes allocate nothing once every thread has met every operation") {
  const TinyReference& reference = tiny_reference("quants");
  const TestModel model(reference.gguf);
  const Workload workload{
      .sequences = 3, .prompt_tokens = 40, .max_tokens = 100, .context_tokens = 300};
  enum class Kind { kStreamed, kInPlace, kDisk, kHostCache };
  for (const Kind kind : {Kind::kStreamed, Kind::kInPlace, Kind::kDisk, Kind::kHostCache}) {
    const bool in_place = kind == Kind::kInPlace;
    PlanLimits limits{.in_place = in_place};
    if (!in_place) limits.device_bytes = smallest_limit_bytes(model.layout, workload, {}) + 50'000;
    Plan plan = model.plan(workload, limits);
    if (kind == Kind::kDisk) {
      std::ranges::replace(plan.placement, Placement::kHost, Placement::kDisk);
      plan.disk_buffers = 3;
      plan.disk_buffer_bytes = 2 * plan.slot_bytes;
      count_bytes(model.layout, plan);
    }
    if (kind == Kind::kHostCache) {
      plan.cache_on_host(1);
      count_bytes(model.layout, plan);
    }
    TestEngine test(model, plan, {}, in_place);
    const auto feed_all = [&](std::span<const std::int32_t> tokens) {
      const Feed feeds[] = {{0, tokens}, {1, tokens.first(tokens.size() / 2 + 1)}, {2, tokens}};
      test.engine.feed(feeds);
    };
    const auto allocated = [&] {
      const std::size_t before = allocations.load();
      for (std::size_t s = 0; s < 3; ++s) test.engine.truncate(s, 0);
      feed_all(reference.ids);
      for (int token = 0; token < 20; ++token) feed_all({&reference.ids[0], 1});
      return allocations.load() - before;
    };
    // Whichever thread has not met an operation yet sizes its scratch when it does, and which one
    // meets it is chance: a few rounds may allocate, and then no more.
    std::size_t rounds = 0;
    std::size_t without = 0;
    for (; without < 10 && rounds < 100; ++rounds) without = allocated() == 0 ? without + 1 : 0;
    CAPTURE(kind);
    CHECK(without == 10);
  }
}

#endif
