// Element types of tensors as model files hold them, and the bytes they take.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice {

enum class DType : std::uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
};
inline constexpr std::size_t kDTypeCount = 13;
inline constexpr std::array<DType, kDTypeCount> kAllDTypes = {
    DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ4_0, DType::kQ4_1,
    DType::kQ5_0, DType::kQ5_1, DType::kQ8_0, DType::kQ2_K, DType::kQ3_K,
    DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

// A row of `group_values`-sized groups; each takes `group_bytes` in the file.
struct DTypeInfo {
  std::string_view name;     // "Q4_K", as GGUF tools print it
  std::uint32_t gguf_id;     // the type's number in a GGUF tensor table
  std::size_t group_values;  // 1 for floats
  std::size_t group_bytes;
};

const DTypeInfo& dtype_info(DType type);
std::optional<DType> dtype_from_gguf(std::uint32_t gguf_id);
inline bool is_quantised(DType type) {
  return type >= DType::kQ4_0;
}

// Bytes of a row of `columns` values. `columns` must be a multiple of the type's group_values.
std::size_t row_bytes(DType type, std::size_t columns);

}  // namespace sluice
