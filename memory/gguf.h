// GGUF reader: the header of one file, versions 2 and 3, little-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "memory/model_file.h"

namespace sluice {

struct GgufHeader {
  Metadata metadata;                // strings point into the bytes that were read
  std::vector<TensorInfo> tensors;  // in the order of the file's table, `file` is 0
};

// What a file may ask of us before its tensors are even looked at. Far above what models need (a
// vocabulary of 256 thousand tokens, a few thousand tensors), and low enough that no file makes
// the reader take more than about 256 MiB, or eight times the file's size if that is less.
inline constexpr std::uint64_t kGgufMaxTensors = 1u << 18;
inline constexpr std::uint64_t kGgufMaxKeys = 1u << 16;
inline constexpr std::uint64_t kGgufMaxArrayValues = 1u << 23;  // of all arrays together
inline constexpr std::size_t kGgufMaxNameBytes = 64;            // of a tensor
inline constexpr std::size_t kGgufMaxDimensions = 4;

// Reads the header at the start of `file`, which is the whole file. Nothing in it is believed:
// each count is held against the bytes that are left before anything is allocated, and each tensor
// against the file's end and its neighbours. Throws Error{kBadFile}, whose message starts with
// `path` and names the field, what was found and what would be accepted.
class GgufReader {
 public:
  GgufReader(std::span<const std::byte> file, const std::filesystem::path& path);
  GgufHeader read();

 private:
  struct Counts {
    std::uint64_t tensors;
    std::uint64_t keys;
  };
  Counts read_counts();
  void read_entry(Metadata& metadata);
  MetaValue read_value(std::uint32_t type);
  MetaValue read_array();
  // One value, or all `count` values of an array of this type.
  MetaValue read_values(std::uint32_t type, const std::uint64_t* count);
  template <typename Stored, typename Value>
  MetaValue read_numbers(const std::uint64_t* count);
  MetaValue read_bools(const std::uint64_t* count);
  MetaValue read_strings(const std::uint64_t* count);
  bool read_bool();
  std::string_view read_string(std::string_view field);
  template <typename T>
  T read_fixed(std::string_view field);

  std::size_t alignment(const Metadata& metadata);
  TensorInfo read_tensor();
  DType read_dtype();
  std::size_t tensor_size(const TensorInfo& tensor);
  void place_tensors(std::vector<TensorInfo>& tensors, std::size_t alignment_bytes);
  void check_overlaps(const std::vector<TensorInfo>& tensors);
  void check_names(const std::vector<TensorInfo>& tensors);

  std::uint64_t left() const { return file_.size() - at_; }
  void need(std::uint64_t size_bytes, std::string_view field) const;
  template <typename... Parts>
  [[noreturn]] void fail(const Parts&... parts) const;

  std::span<const std::byte> file_;
  std::string path_;                // as messages show it
  std::string subject_ = "header";  // what is being read, as messages show it
  std::size_t at_ = 0;              // the next byte to read
  std::uint64_t array_values_ = 0;
};

}  // namespace sluice
