// The values that a sweep goes over: "2GiB..24GiB:1GiB", "8GiB,16GiB", "1,4,16", "1..16:5".
#pragma once

#include <cstddef>
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

}  // namespace sluice
