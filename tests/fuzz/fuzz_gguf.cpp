// Any bytes, read as a GGUF file: an Error, or a header that keeps its promises.
//
//   build/fuzz/fuzz_gguf -max_len=4096 -malloc_limit_mb=64 CORPUS tests/fuzz/seeds/gguf
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <span>
#include <string_view>

#include "memory/error.h"
#include "memory/gguf.h"

namespace sluice {

namespace {

void demand(bool promise) {
  if (!promise) std::abort();
}

void check_inside(std::string_view text, std::span<const std::byte> file) {
  const auto* begin = reinterpret_cast<const char*>(file.data());
  const std::less_equal<const char*> not_after;
  demand(not_after(begin, text.data()));
  demand(not_after(text.data() + text.size(), begin + file.size()));
}

void check_strings(const Metadata& metadata, std::span<const std::byte> file) {
  for (const auto& [key, value] : metadata) {
    check_inside(key, file);
    if (const auto* one = std::get_if<std::string_view>(&value)) check_inside(*one, file);
    if (const auto* many = std::get_if<std::vector<std::string_view>>(&value)) {
      for (const std::string_view each : *many) check_inside(each, file);
    }
  }
}

void check_tensors(std::vector<TensorInfo> tensors, std::size_t file_bytes) {
  std::ranges::sort(tensors, {}, &TensorInfo::begin_bytes);
  std::size_t end = 0;
  for (const TensorInfo& tensor : tensors) {
    demand(!tensor.shape.empty() && tensor.shape.size() <= 4);
    demand(tensor.size_bytes == tensor.rows() * row_bytes(tensor.type, tensor.columns()));
    demand(tensor.begin_bytes >= end && tensor.begin_bytes <= file_bytes);
    demand(tensor.size_bytes > 0 && tensor.size_bytes <= file_bytes - tensor.begin_bytes);
    end = tensor.begin_bytes + tensor.size_bytes;
  }
}

}  // namespace

}  // namespace sluice

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;
  const auto file = std::as_bytes(std::span(data, size));
  try {
    const GgufHeader header = read_gguf(file, "fuzz.gguf");
    check_strings(header.metadata, file);
    check_tensors(header.tensors, size);
  } catch (const Error& error) {
    demand(error.kind() == ErrorKind::kBadFile);
    demand(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  return 0;
}
