#include "cli/sweep_axes.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <limits>

#include "memory/error.h"
#include "memory/printable.h"
#include "memory/units.h"

namespace sluice {
namespace {

// How one value is read, and an example of a range.
struct Axis {
  std::string_view option;
  std::function<std::size_t(std::string_view)> parse;
  std::string_view example;
  std::size_t most_values;
};

[[noreturn]] void refuse(const Axis& axis, std::string_view given, std::string_view why) {
  throw Error(ErrorKind::kUsage, text(axis.option, ": \"", printable(given), "\" ", why));
}

void add_range(const Axis& axis, std::string_view given, std::vector<std::size_t>& values) {
  const std::size_t dots = given.find("..");
  const std::size_t colon = given.find(':', dots);
  if (colon == std::string_view::npos) {
    refuse(axis, given, text("has no step; say FROM..TO:STEP, for example ", axis.example));
  }
  const std::size_t from = axis.parse(given.substr(0, dots));
  const std::size_t to = axis.parse(given.substr(dots + 2, colon - dots - 2));
  const std::size_t step = axis.parse(given.substr(colon + 1));
  if (from > to) refuse(axis, given, "ends before it begins; the smaller value comes first");
  if (step == 0) refuse(axis, given, "has a step of 0, and would never end");
  if ((to - from) / step >= axis.most_values) {
    refuse(axis, given,
           text("has ", (to - from) / step + 1, " values, of ", axis.most_values,
                " that there may be; give a larger step"));
  }
  for (std::size_t value = from;; value += step) {
    values.push_back(value);
    if (to - value < step) return;
  }
}

// Calls `take` with each of what commas divide.
template <typename Take>
void for_each_item(std::string_view given, const Take& take) {
  for (std::size_t comma; (comma = given.find(',')) != std::string_view::npos;) {
    take(given.substr(0, comma));
    given.remove_prefix(comma + 1);
  }
  take(given);
}

std::vector<std::size_t> parse_axis(const Axis& axis, std::string_view given) {
  std::vector<std::size_t> values;
  for_each_item(given, [&](std::string_view item) {
    if (item.find("..") != std::string_view::npos) {
      add_range(axis, item, values);
    } else {
      values.push_back(axis.parse(item));
    }
  });
  std::ranges::sort(values);
  values.erase(std::unique(values.begin(), values.end()), values.end());
  if (values.size() > axis.most_values) {
    throw Error(ErrorKind::kUsage, text(axis.option, ": these are ", values.size(), " values, of ",
                                        axis.most_values, " that there may be"));
  }
  return values;
}

}  // namespace

std::vector<std::size_t> parse_sweep_sizes(std::string_view given, std::string_view option) {
  const Axis axis{option, [&](std::string_view item) { return parse_bytes(item, option); },
                  "2GiB..24GiB:1GiB", kMostSweepLimits};
  return parse_axis(axis, given);
}

std::vector<std::size_t> parse_sweep_counts(std::string_view given, std::string_view option,
                                            std::size_t most) {
  const auto parse = [&](std::string_view item) {
    std::size_t value = 0;
    const char* end = item.data() + item.size();
    const auto [stop, error] = std::from_chars(item.data(), end, value);
    if (error != std::errc{} || stop != end || value == 0 || value > most) {
      throw Error(ErrorKind::kUsage, text(option, ": \"", printable(item),
                                          "\" is not a whole number from 1 to ", most));
    }
    return value;
  };
  return parse_axis({option, parse, "1..16:5", kMostSweepSeries}, given);
}

std::vector<std::string> parse_sweep_names(std::string_view given, std::string_view option) {
  if (given.empty()) return {""};
  std::vector<std::string> names;
  for_each_item(given, [&](std::string_view name) {
    if (name.empty() || std::ranges::find(names, name) != names.end()) {
      throw Error(ErrorKind::kUsage, text(option, ": \"", printable(given), "\" has ",
                                          name.empty() ? "an empty name" : "a name twice"));
    }
    names.emplace_back(name);
  });
  if (names.size() > kMostSweepSeries) {
    throw Error(ErrorKind::kUsage, text(option, ": these are ", names.size(), " values, of ",
                                        kMostSweepSeries, " that there may be"));
  }
  return names;
}

}  // namespace sluice
