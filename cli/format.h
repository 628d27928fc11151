// One line of text by a printf pattern.
#pragma once

#include <cstdio>
#include <string>

namespace sluice {

// At most 255 characters; the rest is cut.
template <typename... Values>
std::string format(const char* pattern, Values... values) {
  char line[256];
  std::snprintf(line, sizeof line, pattern, values...);
  return line;
}

}  // namespace sluice
