// Writes what a GGUF file (version 3) starts with; the tensors' bytes follow it, in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "memory/dtype.h"

namespace sluice {

// Every tensor starts at a multiple of this, counted from the end of the header.
inline constexpr std::size_t kGgufAlignBytes = 32;

class GgufHeaderWriter {
 public:
  void add(std::string_view key, std::string_view value);
  void add(std::string_view key, std::uint32_t value);
  void add(std::string_view key, float value);
  void add(std::string_view key, bool value);
  void add(std::string_view key, std::span<const std::string> values);
  void add(std::string_view key, std::span<const std::int32_t> values);

  // `shape` is slowest first, as in TensorInfo. The tensor takes align_up(size, kGgufAlignBytes).
  void add_tensor(std::string_view name, DType type, std::span<const std::size_t> shape);
  // One whose bytes are those at `begin_bytes` of the data, which belong to another tensor too.
  void add_shared_tensor(std::string_view name, DType type, std::span<const std::size_t> shape,
                         std::size_t begin_bytes);

  // The header, to its last byte of padding.
  std::string bytes() const;
  std::size_t data_bytes() const { return data_bytes_; }  // of all tensors, padding included

 private:
  void begin(std::string_view key, std::uint32_t type);

  std::string entries_;
  std::string tensors_;
  std::uint64_t entry_count_ = 0;
  std::uint64_t tensor_count_ = 0;
  std::size_t data_bytes_ = 0;
};

}  // namespace sluice
