// What a page holds, read in the plainest way: one value at a time, straight from the layout that
// memory/kv_pages.h tells. Kernels are held against it.
#pragma once

#include <cstring>

#include "memory/kv_pages.h"
#include "memory/quant.h"

namespace sluice::testing {

// Of one head's part of a page.
struct PageReader {
  KvLayout layout;
  const std::byte* head;

  double key(std::size_t slot, std::size_t d) const {
    return element(head, d * kPageTokens + slot) * scale(head + layout.keys_bytes(), slot, d);
  }
  double value(std::size_t slot, std::size_t d) const {
    const std::byte* values = head + layout.keys_bytes();
    return element(values, slot * layout.value_stride() + d) *
           scale(values + layout.values_bytes(), slot, d);
  }
  // Of the group that holds dimension `d`; 1 where there are none.
  double key_scale(std::size_t slot, std::size_t d) const {
    return scale(head + layout.keys_bytes(), slot, d);
  }
  double value_scale(std::size_t slot, std::size_t d) const {
    return scale(head + layout.keys_bytes() + layout.values_bytes(), slot, d);
  }

 private:
  template <typename T>
  static T load(const std::byte* begin, std::size_t index) {
    T value;
    std::memcpy(&value, begin + index * sizeof(T), sizeof(T));
    return value;
  }
  double element(const std::byte* begin, std::size_t index) const {
    if (layout.type == KvType::kF32) return load<float>(begin, index);
    if (layout.type == KvType::kF16) return half_to_float(load<std::uint16_t>(begin, index));
    return load<std::int8_t>(begin, index);
  }
  // Scales are the last [groups][kPageTokens] halves before `end`.
  double scale(const std::byte* end, std::size_t slot, std::size_t d) const {
    if (layout.type != KvType::kQ8_0) return 1.0;
    const std::size_t groups = (layout.head_dim + 31) / 32;
    return half_to_float(load<std::uint16_t>(end - groups * 128, d / 32 * kPageTokens + slot));
  }
};

}  // namespace sluice::testing
