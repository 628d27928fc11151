// The probability that logits give a token.
#pragma once

#include <cstddef>
#include <span>

namespace sluice {

// log softmax(logits)[token], summed in double in one fixed order. NaN if any logit is.
double log_probability(std::span<const float> logits, std::size_t token);

}  // namespace sluice
