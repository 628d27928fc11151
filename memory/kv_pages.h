// Pages of cached keys and values: their layout, and which of a fixed number are lent.
//
// A page holds the keys and values of kPageTokens consecutive tokens of one sequence, in every
// layer. The pool is laid out [layer][page]; a layer's part of a page is
//   keys    [kv_head][head_dim][kPageTokens]      so that a score takes 16 tokens at once
//   values  [kv_head][kPageTokens][value_stride]  so that a sum takes 16 columns at once
// with value_stride = head_dim rounded up to 16, in f16 or f32. Attention merges one state a page,
// in order, so that results don't depend on where pages lie or how a prompt was cut.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "memory/units.h"

namespace sluice {

inline constexpr std::size_t kPageTokens = 64;

enum class KvType : std::uint8_t { kF16, kF32 };

struct KvLayout {
  KvType type = KvType::kF16;
  std::size_t layers = 0;
  std::size_t kv_heads = 0;
  std::size_t head_dim = 0;
  std::size_t pages = 0;

  constexpr std::size_t value_stride() const { return align_up(head_dim, 16); }
  constexpr std::size_t value_bytes() const { return type == KvType::kF16 ? 2 : 4; }
  // Of one head's keys, and of one head's values, in a page.
  constexpr std::size_t keys_bytes() const { return head_dim * kPageTokens * value_bytes(); }
  constexpr std::size_t values_bytes() const {
    return value_stride() * kPageTokens * value_bytes();
  }
  // Of one layer's part of a page.
  constexpr std::size_t page_bytes() const {
    return align_up(kv_heads * (keys_bytes() + values_bytes()));
  }
  constexpr std::size_t layer_bytes() const { return pages * page_bytes(); }
  constexpr std::size_t total_bytes() const { return layers * layer_bytes(); }
};

// Lends page numbers. Sized once; lends and takes back without allocating. One thread.
class PagePool {
 public:
  explicit PagePool(std::size_t pages);
  std::optional<std::int32_t> try_lend();
  void give_back(std::int32_t page) { free_.push_back(page); }

 private:
  std::vector<std::int32_t> free_;
};

}  // namespace sluice
