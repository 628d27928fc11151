#include "memory/kv_pages.h"

namespace sluice {

PagePool::PagePool(std::size_t pages) {
  free_.reserve(pages);
  for (std::size_t page = pages; page > 0; --page) {
    free_.push_back(static_cast<std::int32_t>(page - 1));
  }
}

std::optional<std::int32_t> PagePool::try_lend() {
  if (free_.empty()) return std::nullopt;
  const std::int32_t page = free_.back();
  free_.pop_back();
  return page;
}

}  // namespace sluice
