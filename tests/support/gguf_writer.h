// Writes GGUF files for tests, well-formed and not. Shares no code with the reader: it states the
// format a second time, so that the two check each other.
//
//   GgufWriter writer;
//   writer.add("general.architecture", "llama");
//   writer.add("llama.rope.freq_base", 1e5f);
//   writer.add_tensor("token_embd.weight", DType::kF32, {vocab, width}, bytes);
//   writer.write(folder / "tiny.gguf");
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "memory/dtype.h"

namespace sluice::testing {

// Bytes in the making.
class ByteWriter {
 public:
  template <typename T>
  requires std::is_arithmetic_v<T>
  void put(T value) {
    char raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof(T));
    bytes_.append(raw, sizeof(T));
  }
  void put_raw(std::string_view bytes) { bytes_ += bytes; }
  void put_string(std::string_view value) {
    put(std::uint64_t{value.size()});
    put_raw(value);
  }
  void pad(std::size_t alignment) {
    while (bytes_.size() % alignment != 0) bytes_ += '\0';
  }
  std::size_t size() const { return bytes_.size(); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

template <typename T>
constexpr std::uint32_t gguf_value_type() {
  if constexpr (std::same_as<T, std::uint8_t>) return 0;
  if constexpr (std::same_as<T, std::int8_t>) return 1;
  if constexpr (std::same_as<T, std::uint16_t>) return 2;
  if constexpr (std::same_as<T, std::int16_t>) return 3;
  if constexpr (std::same_as<T, std::uint32_t>) return 4;
  if constexpr (std::same_as<T, std::int32_t>) return 5;
  if constexpr (std::same_as<T, float>) return 6;
  if constexpr (std::same_as<T, bool>) return 7;
  if constexpr (std::same_as<T, std::uint64_t>) return 10;
  if constexpr (std::same_as<T, std::int64_t>) return 11;
  if constexpr (std::same_as<T, double>) return 12;
}
inline constexpr std::uint32_t kGgufString = 8;
inline constexpr std::uint32_t kGgufArray = 9;

std::uint32_t gguf_type_number(DType type);

// One entry of the tensor table, as it is to stand in the file.
struct GgufTensor {
  std::string name;
  std::vector<std::uint64_t> dimensions;  // fastest first, as the file has them
  std::uint32_t type;
  std::uint64_t offset;  // within the data
  std::string bytes;     // empty in an entry that only claims to have bytes
};

class GgufWriter {
 public:
  explicit GgufWriter(std::uint32_t version = 3) : version_(version) {}

  // `value` is written in its own C++ type: add("x", std::uint16_t{1}) is a u16.
  template <typename T>
  requires std::is_arithmetic_v<T> GgufWriter& add(std::string_view key, T value) {
    ByteWriter bytes;
    bytes.put(value);
    return add_raw(key, gguf_value_type<T>(), bytes.bytes());
  }
  GgufWriter& add(std::string_view key, std::string_view value);
  template <typename T>
  requires std::is_arithmetic_v<T> GgufWriter& add(std::string_view key,
                                                   const std::vector<T>& values) {
    ByteWriter bytes;
    bytes.put(gguf_value_type<T>());
    bytes.put(std::uint64_t{values.size()});
    for (const T value : values) bytes.put(value);
    return add_raw(key, kGgufArray, bytes.bytes());
  }
  GgufWriter& add(std::string_view key, const std::vector<std::string>& values);
  // A value of any type number with any bytes.
  GgufWriter& add_raw(std::string_view key, std::uint32_t type, std::string_view bytes);

  // `shape` is slowest first, as in TensorInfo.
  GgufWriter& add_tensor(std::string_view name, DType type, const std::vector<std::size_t>& shape,
                         std::span<const std::byte> bytes);
  GgufWriter& add_tensor(std::string_view name, const std::vector<std::size_t>& shape,
                         std::span<const float> values);
  // An entry as it stands; the next tensor's data follows what lies there already.
  GgufWriter& add_entry(GgufTensor tensor);

  // Also writes general.alignment. Call before the first tensor is added.
  GgufWriter& set_alignment(std::uint32_t alignment_bytes);
  // What the header claims to hold, in place of what was added.
  GgufWriter& claim_counts(std::uint64_t tensors, std::uint64_t keys);

  std::string bytes() const;
  void write(const std::filesystem::path& path) const;
  // Writes `stem`-00001-of-0000N.gguf and so on, `tensors_per_part` tensors in each; all metadata
  // is in the first. Returns the paths.
  std::vector<std::filesystem::path> write_split(const std::filesystem::path& stem,
                                                 std::size_t tensors_per_part) const;

 private:
  struct Entry {
    std::string key;
    std::uint32_t type;
    std::string bytes;
  };

  std::uint32_t version_;
  std::uint32_t alignment_bytes_ = 32;
  std::vector<Entry> entries_;
  std::vector<GgufTensor> tensors_;
  std::uint64_t claimed_tensors_ = 0;
  std::uint64_t claimed_keys_ = 0;
  bool has_claims_ = false;
};

void write_file(const std::filesystem::path& path, std::string_view bytes);

}  // namespace sluice::testing
