// One sequence in the cache: how long it is, and the pages that hold it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sluice {

struct Sequence {
  std::size_t length = 0;           // tokens whose keys and values are cached
  std::vector<std::int32_t> pages;  // in order; sized once for the whole context
};

}  // namespace sluice
