#include <cstdio>
#include <iostream>
#include <map>

#include "cli/commands.h"
#include "cli/session.h"
#include "memory/error.h"
#include "memory/printable.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr std::size_t kShownChars = 60;

std::string print_shape(const TensorInfo& tensor) {
  std::string out = "[";
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    out += (i == 0 ? "" : ", ") + std::to_string(tensor.shape[i]);
  }
  return out + "]";
}

struct PrintValue {
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(std::int64_t value) const { return std::to_string(value); }
  std::string operator()(std::uint64_t value) const { return std::to_string(value); }
  std::string operator()(double value) const { return text(value); }
  std::string operator()(std::string_view value) const {
    return '"' + printable(value, kShownChars) + '"';
  }
  template <typename T>
  std::string operator()(const std::vector<T>& values) const {
    return text(values.size(), " values");
  }
};

void print_model(const ModelFile& file, const ModelLayout& layout) {
  const ModelConfig& c = layout.config;
  std::map<std::string_view, std::size_t> type_bytes;
  for (const TensorInfo& t : file.tensors()) type_bytes[dtype_info(t.type).name] += t.size_bytes;
  std::printf("%s, %s architecture, %s in %zu tensors\n", printable(c.name).c_str(),
              printable(c.architecture).c_str(), print_bytes(file.file_bytes()).c_str(),
              file.tensors().size());
  std::printf("  %zu layers of width %zu, feed-forward %zu, %zu heads of %zu, %zu for keys\n",
              c.layers, c.width, c.feed_forward, c.heads, c.head_dim, c.kv_heads);
  std::printf("  vocabulary of %zu, trained for %zu tokens, head %s\n", c.vocab, c.context_tokens,
              layout.tied ? "tied to the embedding" : "of its own");
  std::printf("  weights that are placed: %s in %zu units\n",
              print_bytes(layout.units_bytes()).c_str(), layout.units.size());
  for (const auto& [type, bytes] : type_bytes) {
    std::printf("  %-5s %s\n", std::string(type).c_str(), print_bytes(bytes).c_str());
  }
}

}  // namespace

// What isn't a model that Sluice runs is still shown as far as it can be read.
int inspect_command(const InspectOptions& options) {
  const ModelFile file = ModelFile::open(options.model);
  std::string refusal;
  try {
    print_model(file, describe_model(file));
  } catch (const Error& error) {
    refusal = error.what();
  }
  std::printf("metadata\n");
  for (const auto& [key, value] : file.metadata()) {
    std::printf("  %-42s %s\n", printable(key).c_str(), std::visit(PrintValue{}, value).c_str());
  }
  if (options.tensors) {
    std::printf("tensors\n");
    for (const TensorInfo& t : file.tensors()) {
      std::printf("  %-40s %-5s %-16s %zu bytes\n", printable(t.name).c_str(),
                  std::string(dtype_info(t.type).name).c_str(), print_shape(t).c_str(),
                  t.size_bytes);
    }
  }
  if (!refusal.empty()) throw Error(ErrorKind::kBadFile, refusal);
  return 0;
}

}  // namespace sluice
