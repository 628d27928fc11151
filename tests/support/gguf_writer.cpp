#include "tests/support/gguf_writer.h"

#include <algorithm>
#include <fstream>
#include <stdexcept>

namespace sluice::testing {

std::uint32_t gguf_type_number(DType type) {
  switch (type) {
    case DType::kF32:
      return 0;
    case DType::kF16:
      return 1;
    case DType::kBF16:
      return 30;
    case DType::kQ4_0:
      return 2;
    case DType::kQ4_1:
      return 3;
    case DType::kQ5_0:
      return 6;
    case DType::kQ5_1:
      return 7;
    case DType::kQ8_0:
      return 8;
    case DType::kQ2_K:
      return 10;
    case DType::kQ3_K:
      return 11;
    case DType::kQ4_K:
      return 12;
    case DType::kQ5_K:
      return 13;
    case DType::kQ6_K:
      return 14;
  }
  throw std::logic_error("no such type");
}

GgufWriter& GgufWriter::add(std::string_view key, std::string_view value) {
  ByteWriter bytes;
  bytes.put_string(value);
  return add_raw(key, kGgufString, bytes.bytes());
}

GgufWriter& GgufWriter::add(std::string_view key, const std::vector<std::string>& values) {
  ByteWriter bytes;
  bytes.put(kGgufString);
  bytes.put(std::uint64_t{values.size()});
  for (const std::string& value : values) bytes.put_string(value);
  return add_raw(key, kGgufArray, bytes.bytes());
}

GgufWriter& GgufWriter::add_raw(std::string_view key, std::uint32_t type, std::string_view bytes) {
  entries_.push_back({std::string(key), type, std::string(bytes)});
  return *this;
}

GgufWriter& GgufWriter::add_tensor(std::string_view name, DType type,
                                   const std::vector<std::size_t>& shape,
                                   std::span<const std::byte> bytes) {
  std::uint64_t end = 0;
  for (const GgufTensor& tensor : tensors_) {
    end = std::max<std::uint64_t>(end, tensor.offset + tensor.bytes.size());
  }
  const std::uint64_t offset = (end + alignment_bytes_ - 1) / alignment_bytes_ * alignment_bytes_;
  return add_entry({std::string(name),
                    {shape.rbegin(), shape.rend()},
                    gguf_type_number(type),
                    offset,
                    std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())});
}

GgufWriter& GgufWriter::add_tensor(std::string_view name, const std::vector<std::size_t>& shape,
                                   std::span<const float> values) {
  return add_tensor(name, DType::kF32, shape, std::as_bytes(values));
}

GgufWriter& GgufWriter::add_entry(GgufTensor tensor) {
  tensors_.push_back(std::move(tensor));
  return *this;
}

GgufWriter& GgufWriter::set_alignment(std::uint32_t alignment_bytes) {
  alignment_bytes_ = alignment_bytes;
  return add("general.alignment", alignment_bytes);
}

GgufWriter& GgufWriter::claim_counts(std::uint64_t tensors, std::uint64_t keys) {
  claimed_tensors_ = tensors;
  claimed_keys_ = keys;
  has_claims_ = true;
  return *this;
}

std::string GgufWriter::bytes() const {
  ByteWriter out;
  out.put_raw("GGUF");
  out.put(version_);
  out.put(has_claims_ ? claimed_tensors_ : std::uint64_t{tensors_.size()});
  out.put(has_claims_ ? claimed_keys_ : std::uint64_t{entries_.size()});
  for (const Entry& entry : entries_) {
    out.put_string(entry.key);
    out.put(entry.type);
    out.put_raw(entry.bytes);
  }
  for (const GgufTensor& tensor : tensors_) {
    out.put_string(tensor.name);
    out.put(static_cast<std::uint32_t>(tensor.dimensions.size()));
    for (const std::uint64_t dimension : tensor.dimensions) out.put(dimension);
    out.put(tensor.type);
    out.put(tensor.offset);
  }
  out.pad(alignment_bytes_);
  std::string file = out.bytes();
  const std::size_t data_begin = file.size();
  for (const GgufTensor& tensor : tensors_) {
    if (tensor.bytes.empty()) continue;
    const std::size_t begin = data_begin + tensor.offset;
    file.resize(std::max(file.size(), begin + tensor.bytes.size()));
    file.replace(begin, tensor.bytes.size(), tensor.bytes);
  }
  return file;
}

void GgufWriter::write(const std::filesystem::path& path) const {
  write_file(path, bytes());
}

std::vector<std::filesystem::path> GgufWriter::write_split(const std::filesystem::path& stem,
                                                           std::size_t tensors_per_part) const {
  const std::size_t count = (tensors_.size() + tensors_per_part - 1) / tensors_per_part;
  const auto number = [](std::size_t n) {
    const std::string digits = std::to_string(n);
    return std::string(5 - digits.size(), '0') + digits;
  };
  std::vector<std::filesystem::path> paths;
  for (std::size_t part = 0; part < count; ++part) {
    GgufWriter writer(version_);
    writer.alignment_bytes_ = alignment_bytes_;
    if (part == 0) writer.entries_ = entries_;
    if (part != 0 && alignment_bytes_ != 32) writer.set_alignment(alignment_bytes_);
    writer.add("split.no", static_cast<std::uint16_t>(part));
    writer.add("split.count", static_cast<std::uint16_t>(count));
    writer.add("split.tensors.count", static_cast<std::int32_t>(tensors_.size()));
    const std::size_t end = std::min(tensors_.size(), (part + 1) * tensors_per_part);
    std::uint64_t offset = 0;
    for (std::size_t i = part * tensors_per_part; i < end; ++i) {
      GgufTensor tensor = tensors_[i];
      tensor.offset = offset;
      offset += tensor.bytes.size();
      offset = (offset + alignment_bytes_ - 1) / alignment_bytes_ * alignment_bytes_;
      writer.add_entry(std::move(tensor));
    }
    paths.push_back(stem.native() + "-" + number(part + 1) + "-of-" + number(count) + ".gguf");
    writer.write(paths.back());
  }
  return paths;
}

void write_file(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!out.flush()) throw std::runtime_error("cannot write " + path.native());
}

}  // namespace sluice::testing
