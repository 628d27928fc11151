#include "memory/kv_pages.h"

namespace sluice {
namespace {

constexpr std::array<std::string_view, kKvTypeCount> kNames = {"f32", "f16", "q8_0"};

}  // namespace

std::string_view kv_type_name(KvType type) {
  return kNames[static_cast<std::size_t>(type)];
}

std::optional<KvType> kv_type_named(std::string_view name) {
  for (const KvType type : kAllKvTypes) {
    if (kv_type_name(type) == name) return type;
  }
  return std::nullopt;
}

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
