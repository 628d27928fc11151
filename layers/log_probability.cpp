#include "layers/log_probability.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "memory/parallel.h"
#include "memory/units.h"

namespace sluice {

double log_probability(std::span<const float> logits, std::size_t token) {
  constexpr std::size_t kParts = 16;  // whose sums are added in order, whoever made them
  const float top = *std::max_element(logits.begin(), logits.end());
  std::array<double, kParts> sums{};
  const std::size_t part_size = ceil_div(logits.size(), kParts);
  parallel_for(kParts, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t part = begin; part < end; ++part) {
      const std::size_t last = std::min(logits.size(), (part + 1) * part_size);
      double sum = 0.0;
      for (std::size_t i = part * part_size; i < last; ++i) sum += std::exp(logits[i] - top);
      sums[part] = sum;
    }
  });
  double total = 0.0;
  for (const double sum : sums) total += sum;
  return static_cast<double>(logits[token]) - top - std::log(total);
}

}  // namespace sluice
