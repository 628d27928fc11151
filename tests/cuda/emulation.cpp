#include "tests/cuda/emulation.h"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <numeric>
#include <string_view>
#include <utility>

#include "memory/parallel.h"
#include "tests/cuda/emulation_block.h"

namespace sluice::emulation {
namespace {

struct OrderSetting {
  Order order = Order::kForward;
  std::uint64_t seed = 0;
};

OrderSetting order_of_environment() {
  const char* variable = std::getenv("SLUICE_EMULATION_ORDER");
  const std::string_view words = variable != nullptr ? variable : "forward";
  if (words == "forward") return {Order::kForward, 0};
  if (words == "reverse") return {Order::kReverse, 0};
  if (words.starts_with("random:")) {
    return {Order::kRandom, std::strtoull(variable + std::strlen("random:"), nullptr, 10)};
  }
  throw Error(ErrorKind::kUsage,
              text("SLUICE_EMULATION_ORDER=", words, ": must be forward, reverse or random:SEED"));
}

struct Settings {
  std::mutex mutex;
  OrderSetting order = order_of_environment();
  std::vector<std::string> violations;
};

Settings& settings() {
  static Settings the_settings;
  return the_settings;
}

// Runners are kept from grid to grid: making fibers is what takes long. They are as many as work at
// the same time, but not more than this; each may own 1024 stacks, and the thread sanitizer bears
// 8000 threads.
#ifdef SLUICE_TSAN_FIBERS
constexpr std::size_t kMaxRunners = 2;
#else
constexpr std::size_t kMaxRunners = 16;
#endif

class RunnerPool {
 public:
  std::unique_ptr<BlockRunner> borrow() {
    std::unique_lock lock(mutex_);
    is_free_.wait(lock, [&] { return !free_.empty() || made_ < kMaxRunners; });
    if (free_.empty()) {
      ++made_;
      return std::make_unique<BlockRunner>();
    }
    auto runner = std::move(free_.back());
    free_.pop_back();
    return runner;
  }

  void give_back(std::unique_ptr<BlockRunner> runner) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(runner));
    is_free_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable is_free_;
  std::vector<std::unique_ptr<BlockRunner>> free_;
  std::size_t made_ = 0;
};

// Never destroyed: a worker may still be leaving it when the process ends.
RunnerPool& runners() {
  static auto* pool = new RunnerPool;
  return *pool;
}

// The block that is run as number `index`: each once, in the grid's order.
std::uint64_t block_at(const Grid& grid, std::uint64_t index, std::uint64_t count) {
  if (grid.order == Order::kForward) return index;
  if (grid.order == Order::kReverse) return count - 1 - index;
  std::uint64_t stride = (grid.seed % 1021 + 1) % count;
  while (std::gcd(stride, count) != 1) ++stride;
  return (index * stride + grid.seed) % count;
}

}  // namespace

void set_order(Order order, std::uint64_t seed) {
  const std::lock_guard lock(settings().mutex);
  settings().order = {order, seed};
}

void reset_order() {
  const std::lock_guard lock(settings().mutex);
  settings().order = order_of_environment();
}

std::vector<std::string> violations() {
  const std::lock_guard lock(settings().mutex);
  return settings().violations;
}

void clear_violations() {
  const std::lock_guard lock(settings().mutex);
  settings().violations.clear();
}

void Grid::violate(const std::string& what) {
  if (abandoned.exchange(true)) return;
  const std::lock_guard lock(settings().mutex);
  settings().violations.push_back(text(name, ": ", what));
}

std::optional<std::string> shape_fault(const LaunchShape& shape) {
  const auto [grid, block, shared_bytes] = shape;
  const auto is_empty = [](dim3 extent) { return extent.x == 0 || extent.y == 0 || extent.z == 0; };
  if (is_empty(grid) || is_empty(block)) return "a grid or block without threads";
  if (grid.x > 0x7FFFFFFF || grid.y > 65535 || grid.z > 65535) {
    return text("a grid of ", grid.x, " x ", grid.y, " x ", grid.z,
                " blocks; 2147483647 x 65535 x 65535 are the most");
  }
  const auto threads = std::uint64_t{block.x} * block.y * block.z;
  if (threads > kMaxBlockThreads || block.z > 64) {
    return text("a block of ", block.x, " x ", block.y, " x ", block.z, " threads; 1024 are the",
                " most, and 64 in z");
  }
  if (shared_bytes > kSharedLimitBytes) {
    return text(shared_bytes, " bytes of shared memory; ", kSharedLimitBytes, " are the most");
  }
  return std::nullopt;
}

void run_threads(const char* name, const LaunchShape& shape,
                 void (*thread_main)(const void* arguments), const void* arguments) {
  Grid grid{name, shape.grid, shape.block, shape.shared_bytes, thread_main, arguments, {}, {}};
  {
    const std::lock_guard lock(settings().mutex);
    grid.order = settings().order.order;
    grid.seed = settings().order.seed;
  }
  if (const auto fault = shape_fault(shape)) return grid.violate(*fault);
  const auto count = std::uint64_t{shape.grid.x} * shape.grid.y * shape.grid.z;
  RunnerPool& pool = runners();
  release_to_others(&grid.fork);
  parallel_for(count, 1, [&](std::size_t begin, std::size_t end) {
    acquire_from_others(&grid.fork);  // the pool, the first time
    auto runner = pool.borrow();
    for (std::size_t i = begin; i < end && !grid.abandoned; ++i) {
      runner->run(grid, block_at(grid, i, count));
    }
    pool.give_back(std::move(runner));
  });
  acquire_from_others(&grid.join);
}

void yield(Site site) {
  current_thread->runner->yield(site);
}

void trap(Site site) {
  current_thread->runner->fail("called __trap at " + text_of(site));
}

void* shared_object(const void* key, std::size_t bytes, const char* name) {
  BlockRunner& runner = *current_thread->runner;
  void* object = runner.shared().object(key, bytes, name);
  if (object == nullptr) {
    runner.fail(
        text("declares ", name, "; with it shared memory exceeds ", kSharedLimitBytes, " bytes"));
  }
  return object;
}

void* dynamic_shared_bytes() {
  return current_thread->runner->shared().dynamic();
}

std::string text_of(Site site) {
  // How this file's name begins, all of the source's do.
  constexpr std::string_view kThis = __FILE__;
  constexpr std::string_view kRoot =
      kThis.substr(0, kThis.size() - std::string_view("tests/cuda/emulation.cpp").size());
  std::string_view file = site.file;
  if (file.starts_with(kRoot)) file.remove_prefix(kRoot.size());
  return text(file, ":", site.line);
}

bool is_same(Site a, Site b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

std::string text_of(uint3 index) {
  return text("(", index.x, ",", index.y, ",", index.z, ")");
}

}  // namespace sluice::emulation
