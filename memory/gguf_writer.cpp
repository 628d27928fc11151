#include "memory/gguf_writer.h"

#include "memory/gguf_format.h"
#include "memory/units.h"

namespace sluice {
namespace {

using enum gguf::ValueType;

constexpr std::uint32_t kVersion = 3;

template <typename T>
void put(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void put_string(std::string& to, std::string_view value) {
  put(to, std::uint64_t{value.size()});
  to += value;
}

}  // namespace

void GgufHeaderWriter::begin(std::string_view key, std::uint32_t type) {
  put_string(entries_, key);
  put(entries_, type);
  ++entry_count_;
}

void GgufHeaderWriter::add(std::string_view key, std::string_view value) {
  begin(key, kString);
  put_string(entries_, value);
}

void GgufHeaderWriter::add(std::string_view key, std::uint32_t value) {
  begin(key, kUint32);
  put(entries_, value);
}

void GgufHeaderWriter::add(std::string_view key, float value) {
  begin(key, kFloat32);
  put(entries_, value);
}

void GgufHeaderWriter::add(std::string_view key, bool value) {
  begin(key, kBool);
  put(entries_, static_cast<std::uint8_t>(value));
}

void GgufHeaderWriter::add(std::string_view key, std::span<const std::string> values) {
  begin(key, kArray);
  put(entries_, std::uint32_t{kString});
  put(entries_, std::uint64_t{values.size()});
  for (const std::string& value : values) put_string(entries_, value);
}

void GgufHeaderWriter::add(std::string_view key, std::span<const std::int32_t> values) {
  begin(key, kArray);
  put(entries_, std::uint32_t{kInt32});
  put(entries_, std::uint64_t{values.size()});
  for (const std::int32_t value : values) put(entries_, value);
}

void GgufHeaderWriter::add_tensor(std::string_view name, DType type,
                                  std::span<const std::size_t> shape) {
  add_shared_tensor(name, type, shape, data_bytes_);
  std::size_t size_bytes = row_bytes(type, shape.back());
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) size_bytes *= shape[i];
  data_bytes_ += align_up(size_bytes, kGgufAlignBytes);
}

void GgufHeaderWriter::add_shared_tensor(std::string_view name, DType type,
                                         std::span<const std::size_t> shape,
                                         std::size_t begin_bytes) {
  put_string(tensors_, name);
  put(tensors_, static_cast<std::uint32_t>(shape.size()));
  for (std::size_t i = shape.size(); i-- > 0;) put(tensors_, std::uint64_t{shape[i]});
  put(tensors_, dtype_info(type).gguf_id);
  put(tensors_, std::uint64_t{begin_bytes});
  ++tensor_count_;
}

std::string GgufHeaderWriter::bytes() const {
  std::string header = "GGUF";
  put(header, kVersion);
  put(header, tensor_count_);
  put(header, entry_count_);
  header += entries_;
  header += tensors_;
  header.resize(align_up(header.size(), kGgufAlignBytes), '\0');
  return header;
}

}  // namespace sluice
