#include "memory/parallel.h"

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/parallel_for.h>

namespace sluice {

void run_parallel(std::size_t count, std::size_t grain,
                  void (*body)(const void* context, std::size_t begin, std::size_t end),
                  const void* context) {
  using Range = oneapi::tbb::blocked_range<std::size_t>;
  oneapi::tbb::parallel_for(Range(0, count, grain),
                            [=](const Range& range) { body(context, range.begin(), range.end()); });
}

}  // namespace sluice
