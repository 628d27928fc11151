#include "memory/model_file.h"

#include <algorithm>
#include <array>
#include <utility>

#include "memory/error.h"
#include "memory/gguf.h"
#include "memory/printable.h"

namespace sluice {

namespace {

// What a value is, as messages say it; in the order of MetaValue's alternatives.
constexpr std::array<std::string_view, std::variant_size_v<MetaValue>> kTypeNames = {
    "a bool",
    "a signed integer",
    "an unsigned integer",
    "a float",
    "a string",
    "an array of bools",
    "an array of signed integers",
    "an array of unsigned integers",
    "an array of floats",
    "an array of strings"};

template <typename To, typename From>
std::vector<To> converted(const std::vector<From>& values) {
  return std::vector<To>(values.begin(), values.end());
}

// As split files are numbered: "-00002-of-00005.gguf" ends the name of the second of five.
std::string five_digits(std::uint64_t number) {
  const std::string digits = std::to_string(number);
  return std::string(5 - std::min<std::size_t>(digits.size(), 5), '0') + digits;
}

std::string end_of_name(std::uint64_t part_count) {
  return "-of-" + five_digits(part_count) + ".gguf";
}

std::filesystem::path part_path(const std::string& stem, std::uint64_t part, std::uint64_t count) {
  return stem + "-" + five_digits(part + 1) + end_of_name(count);
}

// "dir/x" of "dir/x-00002-of-00005.gguf"; nothing if the name isn't that of one of `part_count`.
std::optional<std::string> split_stem(const std::filesystem::path& path, std::uint64_t part_count) {
  constexpr std::size_t kNumberBytes = std::string_view("-00002").size();
  std::string stem = path.native();
  const std::string end = end_of_name(part_count);
  if (!stem.ends_with(end)) return std::nullopt;
  stem.resize(stem.size() - end.size());
  if (stem.size() < kNumberBytes) return std::nullopt;
  const std::string number = stem.substr(stem.size() - kNumberBytes);
  if (number[0] != '-' || number.find_first_not_of("0123456789", 1) != std::string::npos) {
    return std::nullopt;
  }
  stem.resize(stem.size() - kNumberBytes);
  return stem;
}

}  // namespace

std::size_t TensorInfo::rows() const {
  std::size_t rows = 1;
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return rows;
}

ModelFile ModelFile::open(const std::filesystem::path& path, Overlaps overlaps) {
  ModelFile file = open_one(path, overlaps);
  const std::uint64_t part_count = file.find_uint("split.count").value_or(1);
  return part_count > 1 ? open_parts(path, part_count) : std::move(file);
}

ModelFile ModelFile::open_one(const std::filesystem::path& path, Overlaps overlaps) {
  ModelFile file;
  file.path_ = path;
  file.files_.emplace_back(path);
  GgufHeader header = read_gguf(file.files_[0].bytes(), path, overlaps);
  file.metadata_ = std::move(header.metadata);
  file.tensors_ = std::move(header.tensors);
  for (std::size_t i = 0; i < file.tensors_.size(); ++i) {
    file.tensor_index_.emplace(file.tensors_[i].name, i);
  }
  return file;
}

// The metadata of a split model is in its first part; the others only say which part they are.
ModelFile ModelFile::open_parts(const std::filesystem::path& path, std::uint64_t part_count) {
  const std::optional<std::string> stem = split_stem(path, part_count);
  if (!stem) {
    throw Error(
        ErrorKind::kBadFile,
        text(printable_path(path), ": one of ", part_count, " parts of a split model; to find ",
             "the others, its name must end as ", part_path("", 0, part_count).native(), " does"));
  }
  ModelFile whole = open_part(*stem, 0, part_count);
  for (std::uint64_t i = 1; i < part_count; ++i) whole.append(open_part(*stem, i, part_count));
  const auto tensor_count = whole.find_uint("split.tensors.count");
  if (tensor_count && *tensor_count != whole.tensors_.size()) {
    whole.fail("split.tensors.count", text("is ", *tensor_count),
               text("what its parts hold together, ", whole.tensors_.size()));
  }
  return whole;
}

ModelFile ModelFile::open_part(const std::string& stem, std::uint64_t number,
                               std::uint64_t part_count) try {
  ModelFile part = open_one(part_path(stem, number, part_count));
  const std::uint64_t found_count = part.get_uint("split.count");
  const std::uint64_t found_number = part.get_uint("split.no");
  if (found_count != part_count) {
    part.fail("split.count", text("is ", found_count), text(part_count));
  }
  if (found_number != number) part.fail("split.no", text("is ", found_number), text(number));
  return part;
} catch (const Error& error) {
  throw Error(error.kind(), text(error.what(), "; it is part ", number + 1, " of ", part_count,
                                 " of a split model"));
}

void ModelFile::append(ModelFile part) {
  for (TensorInfo& tensor : part.tensors_) {
    const auto [entry, is_new] = tensor_index_.emplace(tensor.name, tensors_.size());
    if (!is_new) {
      throw Error(ErrorKind::kBadFile,
                  text(printable_path(part.path_), ": tensor ", printable(tensor.name), ": is in ",
                       printable_path(files_[tensors_[entry->second].file].path()), " too"));
    }
    tensor.file = files_.size();
    tensors_.push_back(std::move(tensor));
  }
  files_.push_back(std::move(part.files_[0]));
}

const TensorInfo* ModelFile::find_tensor(std::string_view name) const {
  const auto entry = tensor_index_.find(name);
  return entry == tensor_index_.end() ? nullptr : &tensors_[entry->second];
}

const TensorInfo& ModelFile::tensor(std::string_view name) const {
  const TensorInfo* found = find_tensor(name);
  if (found == nullptr) {
    throw Error(ErrorKind::kBadFile,
                text(printable_path(path_), ": tensor ", printable(name), " is missing"));
  }
  return *found;
}

std::span<const std::byte> ModelFile::tensor_bytes(const TensorInfo& tensor) const {
  return files_[tensor.file].bytes().subspan(tensor.begin_bytes, tensor.size_bytes);
}

std::size_t ModelFile::file_bytes() const {
  std::size_t sum = 0;
  for (const MappedFile& file : files_) sum += file.bytes().size();
  return sum;
}

void ModelFile::fail(std::string_view key, std::string_view found, std::string_view wanted) const {
  throw Error(ErrorKind::kBadFile, text(printable_path(path_), ": metadata key ", printable(key),
                                        ": ", found, ", ", wanted, " is expected"));
}

void ModelFile::fail_type(std::string_view key, const MetaValue& value,
                          std::string_view wanted) const {
  fail(key, text("is ", kTypeNames[value.index()]), wanted);
}

const MetaValue* ModelFile::find_value(std::string_view key) const {
  const auto entry = metadata_.find(key);
  return entry == metadata_.end() ? nullptr : &entry->second;
}

template <typename T>
const T* ModelFile::find(std::string_view key, std::string_view wanted) const {
  const MetaValue* value = find_value(key);
  if (value == nullptr) return nullptr;
  const T* found = std::get_if<T>(value);
  if (found == nullptr) fail_type(key, *value, wanted);
  return found;
}

std::optional<bool> ModelFile::find_bool(std::string_view key) const {
  const auto* value = find<bool>(key, "a bool");
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::optional<std::uint64_t> ModelFile::find_uint(std::string_view key) const {
  constexpr std::string_view kWanted = "an integer of 0 or more";
  const MetaValue* value = find_value(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* found = std::get_if<std::uint64_t>(value)) return *found;
  const auto* found = std::get_if<std::int64_t>(value);
  if (found == nullptr) fail_type(key, *value, kWanted);
  if (*found < 0) fail(key, text("is ", *found), kWanted);
  return static_cast<std::uint64_t>(*found);
}

std::optional<double> ModelFile::find_float(std::string_view key) const {
  const MetaValue* value = find_value(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* found = std::get_if<double>(value)) return *found;
  if (const auto* found = std::get_if<std::int64_t>(value)) return static_cast<double>(*found);
  if (const auto* found = std::get_if<std::uint64_t>(value)) return static_cast<double>(*found);
  fail_type(key, *value, "a number");
}

std::optional<std::string_view> ModelFile::find_string(std::string_view key) const {
  const auto* value = find<std::string_view>(key, "a string");
  return value == nullptr ? std::nullopt : std::optional(*value);
}

const std::vector<std::string_view>* ModelFile::find_strings(std::string_view key) const {
  return find<std::vector<std::string_view>>(key, "an array of strings");
}

std::optional<std::vector<std::int64_t>> ModelFile::find_ints(std::string_view key) const {
  constexpr std::string_view kWanted = "an array of integers below 2^63";
  const MetaValue* value = find_value(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* found = std::get_if<std::vector<std::int64_t>>(value)) return *found;
  const auto* found = std::get_if<std::vector<std::uint64_t>>(value);
  if (found == nullptr) fail_type(key, *value, kWanted);
  for (const std::uint64_t each : *found) {
    if (!std::in_range<std::int64_t>(each)) fail(key, text("holds ", each), kWanted);
  }
  return converted<std::int64_t>(*found);
}

std::optional<std::vector<double>> ModelFile::find_floats(std::string_view key) const {
  const MetaValue* value = find_value(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* found = std::get_if<std::vector<double>>(value)) return *found;
  if (const auto* found = std::get_if<std::vector<std::int64_t>>(value)) {
    return converted<double>(*found);
  }
  if (const auto* found = std::get_if<std::vector<std::uint64_t>>(value)) {
    return converted<double>(*found);
  }
  fail_type(key, *value, "an array of numbers");
}

std::uint64_t ModelFile::get_uint(std::string_view key) const {
  const std::optional<std::uint64_t> value = find_uint(key);
  if (!value) fail(key, "is missing", "an integer");
  return *value;
}

std::string_view ModelFile::get_string(std::string_view key) const {
  const std::optional<std::string_view> value = find_string(key);
  if (!value) fail(key, "is missing", "a string");
  return *value;
}

}  // namespace sluice
