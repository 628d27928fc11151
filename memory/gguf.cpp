#include "memory/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>

#include "memory/error.h"
#include "memory/gguf_format.h"
#include "memory/printable.h"
#include "memory/units.h"

namespace sluice {

static_assert(std::endian::native == std::endian::little, "values are copied as they lie");

namespace {

using enum gguf::ValueType;

// The fewest bytes that a value takes in the file; a string has its length before it.
constexpr std::array<std::uint8_t, kValueTypeCount> kLeastBytes = {1, 1, 2,  2, 4, 4, 4,
                                                                   1, 8, 12, 8, 8, 8};
constexpr std::uint64_t kLeastEntryBytes = 8 + 1 + 4 + 1;           // key, type, value
constexpr std::uint64_t kLeastTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;  // name, shape, type, offset
constexpr std::size_t kDefaultAlignment = 32;
constexpr std::size_t kMaxKeyBytes = 65535;  // the specification's limit

// What people have in hand when it isn't a GGUF file.
constexpr std::pair<std::string_view, std::string_view> kOtherStarts[] = {
    {"version https://git-lfs", ": a Git LFS pointer; fetch the file itself with git lfs pull"},
    {"PK\x03\x04", ": a zip archive or PyTorch checkpoint; convert it to GGUF"},
    {"<!", ": a web page; the download went wrong"},
    {"<html", ": a web page; the download went wrong"},
    {"tjgg", ": the format before GGUF; convert it again"},
    {"FUGG", ": a GGUF file with its bytes swapped"},
};

// Types that GGUF knows and we don't, so that a message can name them.
constexpr std::pair<std::uint32_t, std::string_view> kOtherTypes[] = {
    {9, "Q8_1"},   {15, "Q8_K"},   {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"},
    {19, "IQ1_S"}, {20, "IQ4_NL"}, {21, "IQ3_S"},   {22, "IQ2_S"},  {23, "IQ4_XS"},
    {24, "I8"},    {25, "I16"},    {26, "I32"},     {27, "I64"},    {28, "F64"},
    {29, "IQ1_M"}, {34, "TQ1_0"},  {35, "TQ2_0"},   {39, "MXFP4"},
};

std::string other_type_name(std::uint32_t gguf_id) {
  for (const auto& [id, name] : kOtherTypes) {
    if (id == gguf_id) return text(" (", name, ")");
  }
  return "";
}

std::string supported_types() {
  std::string names;
  for (const DType type : kAllDTypes) {
    if (!names.empty()) names += ", ";
    names += dtype_info(type).name;
  }
  return names;
}

std::string print_shape(const std::vector<std::size_t>& shape) {
  std::string out = "[";
  for (const std::size_t size : shape) {
    if (out.size() > 1) out += ", ";
    out += std::to_string(size);
  }
  return out + "]";
}

// Reads forward from the start; every read is checked against what is left.
class GgufReader {
 public:
  GgufReader(std::span<const std::byte> file, const std::filesystem::path& path, Overlaps overlaps)
      : file_(file), path_(printable_path(path)), overlaps_(overlaps) {}
  GgufHeader read();

 private:
  struct Counts {
    std::uint64_t tensors;
    std::uint64_t keys;
  };
  Counts read_counts();
  void check_count(std::string_view what, std::uint64_t count, std::uint64_t least_bytes,
                   std::uint64_t most) const;
  void read_entry(Metadata& metadata);
  MetaValue read_value(std::uint32_t type);
  MetaValue read_array();
  // One value, or all `count` values of an array.
  MetaValue read_values(std::uint32_t type, std::optional<std::uint64_t> count);
  template <typename Stored, typename Value>
  MetaValue read_numbers(std::optional<std::uint64_t> count);
  MetaValue read_bools(std::optional<std::uint64_t> count);
  MetaValue read_strings(std::optional<std::uint64_t> count);

  std::size_t alignment(const Metadata& metadata);
  TensorInfo read_tensor();
  DType read_dtype();
  std::size_t tensor_size(const TensorInfo& tensor) const;
  void place_tensors(std::vector<TensorInfo>& tensors, std::size_t alignment_bytes);
  void check_overlaps(const std::vector<TensorInfo>& tensors);
  void check_names(const std::vector<TensorInfo>& tensors);

  template <typename T>
  T read_fixed(std::string_view field);
  bool read_bool();
  std::string_view read_string(std::string_view field);
  void need(std::uint64_t size_bytes, std::string_view field) const;
  std::uint64_t left() const { return file_.size() - at_; }
  template <typename... Parts>
  [[noreturn]] void fail(const Parts&... parts) const;

  std::span<const std::byte> file_;
  std::string path_;  // as messages show it
  Overlaps overlaps_;
  std::string subject_ = "header";  // what is being read, as messages show it
  std::size_t at_ = 0;              // the next byte to read
  std::uint64_t array_values_ = 0;  // of all arrays so far
};

template <typename... Parts>
void GgufReader::fail(const Parts&... parts) const {
  throw Error(ErrorKind::kBadFile, text(path_, ": ", subject_, ": ", parts...));
}

void GgufReader::need(std::uint64_t size_bytes, std::string_view field) const {
  if (size_bytes <= left()) return;
  fail(field, " at byte ", at_, " takes ", size_bytes, " bytes, but the file ends after ", left(),
       "; it is cut short or damaged");
}

template <typename T>
T GgufReader::read_fixed(std::string_view field) {
  need(sizeof(T), field);
  T value;
  std::memcpy(&value, file_.data() + at_, sizeof(T));
  at_ += sizeof(T);
  return value;
}

std::string_view GgufReader::read_string(std::string_view field) {
  const auto size_bytes = read_fixed<std::uint64_t>(field);
  need(size_bytes, field);
  const auto* begin = reinterpret_cast<const char*>(file_.data() + at_);
  at_ += size_bytes;
  return {begin, static_cast<std::size_t>(size_bytes)};
}

bool GgufReader::read_bool() {
  const auto value = read_fixed<std::uint8_t>("value");
  if (value > 1) fail("bool is ", int{value}, ", 0 or 1 is expected");
  return value == 1;
}

GgufHeader GgufReader::read() {
  GgufHeader header;
  const Counts counts = read_counts();
  for (std::uint64_t i = 0; i < counts.keys; ++i) {
    subject_ = text("metadata entry ", i + 1, " of ", counts.keys);
    read_entry(header.metadata);
  }
  const std::size_t alignment_bytes = alignment(header.metadata);
  header.tensors.reserve(counts.tensors);
  for (std::uint64_t i = 0; i < counts.tensors; ++i) {
    subject_ = text("tensor ", i + 1, " of ", counts.tensors);
    header.tensors.push_back(read_tensor());
  }
  place_tensors(header.tensors, alignment_bytes);
  if (overlaps_ == Overlaps::kRefused) check_overlaps(header.tensors);
  check_names(header.tensors);
  return header;
}

GgufReader::Counts GgufReader::read_counts() {
  const std::string_view start(reinterpret_cast<const char*>(file_.data()), file_.size());
  if (!start.starts_with("GGUF")) {
    std::string_view hint;
    for (const auto& [other, meaning] : kOtherStarts) {
      if (start.starts_with(other)) hint = meaning;
    }
    throw Error(ErrorKind::kBadFile, text(path_, " is not a GGUF file: it starts with \"",
                                          printable(start.substr(0, 4)), "\"", hint));
  }
  at_ = 4;
  const auto version = read_fixed<std::uint32_t>("version");
  if ((version & 0xffffu) == 0 && version != 0) {
    fail("big-endian (version ", __builtin_bswap32(version), "), a little-endian file is expected");
  }
  if (version != 2 && version != 3) fail("version is ", version, ", 2 or 3 is expected");

  Counts counts{};
  counts.tensors = read_fixed<std::uint64_t>("tensor count");
  counts.keys = read_fixed<std::uint64_t>("metadata count");
  check_count("tensor count", counts.tensors, kLeastTensorBytes, kGgufMaxTensors);
  check_count("metadata count", counts.keys, kLeastEntryBytes, kGgufMaxKeys);
  return counts;
}

void GgufReader::check_count(std::string_view what, std::uint64_t count, std::uint64_t least_bytes,
                             std::uint64_t most) const {
  if (count > left() / least_bytes) {
    fail(what, " is ", count, ", but the ", left(), " bytes that follow hold at most ",
         left() / least_bytes, "; the file is cut short or damaged");
  }
  if (count > most) fail(what, " is ", count, ", at most ", most, " is accepted");
}

void GgufReader::read_entry(Metadata& metadata) {
  const std::string_view key = read_string("key");
  if (key.empty() || key.size() > kMaxKeyBytes) {
    fail("its key has ", key.size(), " bytes, 1 to ", kMaxKeyBytes, " are expected");
  }
  subject_ = "metadata key " + printable(key);
  const auto type = read_fixed<std::uint32_t>("type");
  const auto [entry, is_new] = metadata.try_emplace(key);
  if (!is_new) fail("occurs twice");
  entry->second = read_value(type);
}

MetaValue GgufReader::read_value(std::uint32_t type) {
  if (type >= kValueTypeCount) fail("value type is ", type, ", 0 to 12 is expected");
  return type == kArray ? read_array() : read_values(type, std::nullopt);
}

MetaValue GgufReader::read_array() {
  const auto type = read_fixed<std::uint32_t>("type of array");
  const auto count = read_fixed<std::uint64_t>("length of array");
  if (type >= kValueTypeCount) fail("array of value type ", type, ", 0 to 12 is expected");
  if (type == kArray) fail("an array of arrays; only arrays of plain values are supported");
  if (count > left() / kLeastBytes[type]) {
    fail("array of ", count, " values, but the ", left(), " bytes that follow hold at most ",
         left() / kLeastBytes[type], "; the file is cut short or damaged");
  }
  array_values_ += count;  // can't overflow: each addend is below the file's size
  if (array_values_ > kGgufMaxArrayValues) {
    fail("array of ", count, " values brings all arrays to ", array_values_, " values, at most ",
         kGgufMaxArrayValues, " are accepted");
  }
  return read_values(type, count);
}

template <typename Stored, typename Value>
MetaValue GgufReader::read_numbers(std::optional<std::uint64_t> count) {
  if (!count) return Value{read_fixed<Stored>("value")};
  std::vector<Value> values(*count);
  // NOLINTNEXTLINE(bugprone-signed-char-misuse): an int8 here is a number
  for (Value& value : values) value = read_fixed<Stored>("value");
  return values;
}

MetaValue GgufReader::read_bools(std::optional<std::uint64_t> count) {
  if (!count) return read_bool();
  std::vector<bool> values(*count);
  for (auto value : values) value = read_bool();
  return values;
}

MetaValue GgufReader::read_strings(std::optional<std::uint64_t> count) {
  if (!count) return read_string("value");
  std::vector<std::string_view> values(*count);
  for (std::string_view& value : values) value = read_string("string of array");
  return values;
}

MetaValue GgufReader::read_values(std::uint32_t type, std::optional<std::uint64_t> count) {
  switch (type) {
    case kUint8:
      return read_numbers<std::uint8_t, std::uint64_t>(count);
    case kUint16:
      return read_numbers<std::uint16_t, std::uint64_t>(count);
    case kUint32:
      return read_numbers<std::uint32_t, std::uint64_t>(count);
    case kUint64:
      return read_numbers<std::uint64_t, std::uint64_t>(count);
    case kInt8:
      return read_numbers<std::int8_t, std::int64_t>(count);
    case kInt16:
      return read_numbers<std::int16_t, std::int64_t>(count);
    case kInt32:
      return read_numbers<std::int32_t, std::int64_t>(count);
    case kInt64:
      return read_numbers<std::int64_t, std::int64_t>(count);
    case kFloat32:
      return read_numbers<float, double>(count);
    case kFloat64:
      return read_numbers<double, double>(count);
    case kBool:
      return read_bools(count);
    default:
      return read_strings(count);
  }
}

std::size_t GgufReader::alignment(const Metadata& metadata) {
  const auto entry = metadata.find("general.alignment");
  if (entry == metadata.end()) return kDefaultAlignment;
  subject_ = "metadata key general.alignment";
  const auto* value = std::get_if<std::uint64_t>(&entry->second);
  if (value == nullptr) fail("an unsigned integer is expected");
  if (*value < 8 || *value > 1_GiB || !std::has_single_bit(*value)) {
    fail("is ", *value, ", a power of two from 8 to 1073741824 is expected");
  }
  return *value;
}

TensorInfo GgufReader::read_tensor() {
  TensorInfo tensor{};
  const std::string_view name = read_string("name");
  if (name.empty() || name.size() > kGgufMaxNameBytes) {
    fail("its name has ", name.size(), " bytes, 1 to ", kGgufMaxNameBytes, " are expected");
  }
  subject_ = "tensor " + printable(name);
  tensor.name = name;
  const auto dimensions = read_fixed<std::uint32_t>("number of dimensions");
  if (dimensions == 0 || dimensions > kGgufMaxDimensions) {
    fail("has ", dimensions, " dimensions, 1 to ", kGgufMaxDimensions, " are expected");
  }
  tensor.shape.resize(dimensions);
  for (std::size_t i = dimensions; i-- > 0;) {  // the file has the fastest first
    tensor.shape[i] = read_fixed<std::uint64_t>("shape");
  }
  tensor.type = read_dtype();
  tensor.begin_bytes = read_fixed<std::uint64_t>("offset");  // of the data, until it is placed
  tensor.size_bytes = tensor_size(tensor);
  return tensor;
}

DType GgufReader::read_dtype() {
  const auto id = read_fixed<std::uint32_t>("type");
  const std::optional<DType> type = dtype_from_gguf(id);
  if (!type) {
    fail("type ", id, other_type_name(id), " is not supported; supported are ", supported_types());
  }
  return *type;
}

std::size_t GgufReader::tensor_size(const TensorInfo& tensor) const {
  const DTypeInfo& type = dtype_info(tensor.type);
  if (std::ranges::find(tensor.shape, 0u) != tensor.shape.end()) {
    fail("shape ", print_shape(tensor.shape), " has a dimension of 0");
  }
  if (tensor.columns() % type.group_values != 0) {
    fail("has ", tensor.columns(), " columns, ", type.name, " needs a multiple of ",
         type.group_values);
  }
  std::size_t size_bytes = type.group_bytes;
  bool too_large =
      __builtin_mul_overflow(size_bytes, tensor.columns() / type.group_values, &size_bytes);
  for (std::size_t i = 0; i + 1 < tensor.shape.size(); ++i) {
    too_large |= __builtin_mul_overflow(size_bytes, tensor.shape[i], &size_bytes);
  }
  if (too_large) fail("shape ", print_shape(tensor.shape), " takes more than 2^64 bytes");
  return size_bytes;
}

// Turns offsets within the data into offsets within the file.
void GgufReader::place_tensors(std::vector<TensorInfo>& tensors, std::size_t alignment_bytes) {
  const std::size_t data_begin = align_up(at_, alignment_bytes);
  for (TensorInfo& tensor : tensors) {
    subject_ = "tensor " + printable(tensor.name);
    const std::size_t offset = tensor.begin_bytes;
    if (offset % alignment_bytes != 0) {
      fail("offset is ", offset, ", a multiple of ", alignment_bytes, " is expected");
    }
    const std::size_t data_bytes = file_.size() - std::min(data_begin, file_.size());
    if (offset > data_bytes || tensor.size_bytes > data_bytes - offset) {
      fail(print_shape(tensor.shape), " of ", dtype_info(tensor.type).name, " takes ",
           tensor.size_bytes, " bytes from byte ", offset, " of the data, which has ", data_bytes,
           "; the file is cut short or damaged");
    }
    tensor.begin_bytes = data_begin + offset;
  }
}

void GgufReader::check_overlaps(const std::vector<TensorInfo>& tensors) {
  std::vector<const TensorInfo*> order(tensors.size());
  std::ranges::transform(tensors, order.begin(), [](const TensorInfo& t) { return &t; });
  std::ranges::sort(order, {}, &TensorInfo::begin_bytes);
  const auto overlap =
      std::ranges::adjacent_find(order, [](const TensorInfo* a, const TensorInfo* b) {
        return b->begin_bytes < a->begin_bytes + a->size_bytes;
      });
  if (overlap == order.end()) return;
  const TensorInfo& first = *overlap[0];
  const TensorInfo& second = *overlap[1];
  subject_ = "tensor " + printable(second.name);
  fail("begins at byte ", second.begin_bytes, ", within tensor ", printable(first.name),
       ", which ends at byte ", first.begin_bytes + first.size_bytes);
}

void GgufReader::check_names(const std::vector<TensorInfo>& tensors) {
  std::vector<std::string_view> names(tensors.size());
  std::ranges::transform(tensors, names.begin(), &TensorInfo::name);
  std::ranges::sort(names);
  const auto twice = std::ranges::adjacent_find(names);
  if (twice == names.end()) return;
  subject_ = "tensor " + printable(*twice);
  fail("occurs twice");
}

}  // namespace

GgufHeader read_gguf(std::span<const std::byte> file, const std::filesystem::path& path,
                     Overlaps overlaps) {
  return GgufReader(file, path, overlaps).read();
}

}  // namespace sluice
