// Pages of cached keys and values: their layout, and which of a fixed number are lent.
//
// A page holds the keys and values of kPageTokens consecutive tokens of one sequence, in every
// layer. The pool is laid out [layer][page]; a layer's part of a page is, for each kv_head,
//   keys          [head_dim][kPageTokens]      so that a score takes 16 tokens at once
//   key scales    [groups][kPageTokens]        q8_0 alone
//   values        [kPageTokens][value_stride]  so that a sum takes 16 columns at once
//   value scales  [groups][kPageTokens]        q8_0 alone
// with value_stride = head_dim rounded up to 16; columns between are zeros. Attention merges one
// state a page, in order, so that results don't depend on where pages lie or how a prompt was cut.
//
// Of q8_0 keys and values are int8 and scales f16: a group is kKvGroupValues neighbouring
// dimensions of one token's key or value, the last one what is left of them, and holds
//   scale = largest magnitude / 127, as the nearest half; the next one up if that is too small
//   q     = value / scale, to the nearest whole number, within +-127
// Values that are not finite, or larger than any scale, make the group's scale NaN. What a group
// holds depends on its own values alone, and is the same bytes on every device. Scales lie token by
// token, as scores do: a score is multiplied by 16 of them at once, once for all 32 dimensions, and
// so are the weights that a group of columns is summed with.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "memory/units.h"

namespace sluice {

inline constexpr std::size_t kPageTokens = 64;
inline constexpr std::size_t kKvGroupValues = 32;
inline constexpr float kKvMostSteps = 127.4f;  // of a scale, that the nearest whole one is 127

// The most exact first; each takes less than the one before, whatever the layout.
enum class KvType : std::uint8_t { kF32, kF16, kQ8_0 };
inline constexpr std::size_t kKvTypeCount = 3;
inline constexpr std::array<KvType, kKvTypeCount> kAllKvTypes = {KvType::kF32, KvType::kF16,
                                                                 KvType::kQ8_0};
std::string_view kv_type_name(KvType type);  // "q8_0"
std::optional<KvType> kv_type_named(std::string_view name);

struct KvLayout {
  KvType type = KvType::kF16;
  std::size_t layers = 0;
  std::size_t kv_heads = 0;
  std::size_t head_dim = 0;
  std::size_t pages = 0;

  constexpr std::size_t value_stride() const { return align_up(head_dim, 16); }
  constexpr std::size_t groups() const { return ceil_div(head_dim, kKvGroupValues); }
  // Of one key's or value's dimension, scales aside.
  constexpr std::size_t value_bytes() const {
    return type == KvType::kF32 ? 4 : type == KvType::kF16 ? 2 : 1;
  }
  // Of one head's key scales, and of its value scales, in a page.
  constexpr std::size_t scales_bytes() const {
    return type == KvType::kQ8_0 ? groups() * kPageTokens * sizeof(std::uint16_t) : 0;
  }
  // Of one head's keys, and of one head's values, in a page; with their scales, which come last.
  constexpr std::size_t keys_bytes() const {
    return head_dim * kPageTokens * value_bytes() + scales_bytes();
  }
  constexpr std::size_t values_bytes() const {
    return value_stride() * kPageTokens * value_bytes() + scales_bytes();
  }
  // Of one token's keys and values in a layer, without what lies between.
  constexpr std::size_t token_bytes() const {
    return 2 * kv_heads * (head_dim * value_bytes() + scales_bytes() / kPageTokens);
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
