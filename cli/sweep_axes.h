// The values that a sweep goes over: "2GiB..24GiB:1GiB", "8GiB,16GiB", "1,4,16", "1..16:5",
// "q4_0,q8_0".
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

inline constexpr std::size_t kMostSweepLimits = 1000;
inline constexpr std::size_t kMostSweepSeries = 12;  // that a picture can tell apart

// Ascending, each once; a range has its end only where a step meets it. All throw Error{kUsage}
// naming `option` for what isn't a size or a count, ranges that lead nowhere, and too many values.
std::vector<std::size_t> parse_sweep_sizes(std::string_view given, std::string_view option);
std::vector<std::size_t> parse_sweep_counts(std::string_view given, std::string_view option,
                                            std::size_t most);

// In the order given; "" is one name, which is empty. Throws Error{kUsage} for too many, for one
// that is there twice and for an empty one among others.
std::vector<std::string> parse_sweep_names(std::string_view given, std::string_view option);

}  // namespace sluice
