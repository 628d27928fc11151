// A model file: its tensor table and its metadata, whichever the format.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "memory/dtype.h"
#include "memory/mapped_file.h"

namespace sluice {

// One tensor, where it lies. `shape` is slowest first: [rows, columns] for a matrix.
struct TensorInfo {
  std::string name;
  DType type;
  std::vector<std::size_t> shape;
  std::size_t file = 0;         // which of the split files
  std::size_t begin_bytes = 0;  // from that file's start; the whole tensor lies inside the file
  std::size_t size_bytes = 0;

  std::size_t columns() const { return shape.back(); }
  std::size_t rows() const;  // product of all dimensions but the last
};

// A metadata value. Numbers are widened; strings, and keys, point into the mapping.
using MetaValue =
    std::variant<bool, std::int64_t, std::uint64_t, double, std::string_view, std::vector<bool>,
                 std::vector<std::int64_t>, std::vector<std::uint64_t>, std::vector<double>,
                 std::vector<std::string_view>>;
using Metadata = std::map<std::string_view, MetaValue>;

// Whether tensors may share bytes of their file. Files from others have no reason to.
enum class Overlaps : bool { kRefused, kAllowed };

// Owns the mappings that tensors and strings point into. Immutable after opening, so any thread
// may read. Everything in it has been checked against the file's size.
class ModelFile {
 public:
  // Opens a GGUF file (versions 2 and 3). Given any of `x-00001-of-000NN.gguf`, opens all of them.
  // Throws Error{kIo} if it can't be read, Error{kBadFile} naming file, field, value and what would
  // be accepted.
  static ModelFile open(const std::filesystem::path& path, Overlaps overlaps = Overlaps::kRefused);

  // Of split files: the first, which has the metadata.
  const std::filesystem::path& path() const { return path_; }
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  const TensorInfo* find_tensor(std::string_view name) const;  // nullptr if absent
  const TensorInfo& tensor(std::string_view name) const;       // throws kBadFile if absent
  std::span<const std::byte> tensor_bytes(const TensorInfo& tensor) const;
  const MappedFile& file(std::size_t index) const { return files_[index]; }
  std::size_t file_bytes() const;  // all files together

  const Metadata& metadata() const { return metadata_; }
  // Absent: nothing. Present with another type, or out of the range of the result: Error{kBadFile}.
  std::optional<bool> find_bool(std::string_view key) const;
  std::optional<std::uint64_t> find_uint(std::string_view key) const;
  std::optional<double> find_float(std::string_view key) const;  // integers are accepted
  std::optional<std::string_view> find_string(std::string_view key) const;
  const std::vector<std::string_view>* find_strings(std::string_view key) const;
  std::optional<std::vector<std::int64_t>> find_ints(std::string_view key) const;
  std::optional<std::vector<double>> find_floats(std::string_view key) const;
  // As above, and absent is Error{kBadFile} too.
  std::uint64_t get_uint(std::string_view key) const;
  std::string_view get_string(std::string_view key) const;

 private:
  ModelFile() = default;
  static ModelFile open_one(const std::filesystem::path& path,
                            Overlaps overlaps = Overlaps::kRefused);
  static ModelFile open_parts(const std::filesystem::path& path, std::uint64_t part_count);
  // `number` counts from 0.
  static ModelFile open_part(const std::string& stem, std::uint64_t number,
                             std::uint64_t part_count);
  void append(ModelFile part);
  const MetaValue* find_value(std::string_view key) const;  // nullptr if absent
  template <typename T>
  const T* find(std::string_view key, std::string_view wanted) const;
  [[noreturn]] void fail_type(std::string_view key, const MetaValue& value,
                              std::string_view wanted) const;
  [[noreturn]] void fail(std::string_view key, std::string_view found,
                         std::string_view wanted) const;

  std::filesystem::path path_;
  std::vector<MappedFile> files_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::size_t, std::less<>> tensor_index_;
  Metadata metadata_;
};

}  // namespace sluice
