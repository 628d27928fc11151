#include "tests/support/reference_data.h"

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "memory/error.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const fs::path& data_folder() {
  static const fs::path folder = fs::path(SLUICE_SOURCE_DIR) / "tests/reference/data";
  return folder;
}

Json read_json(const fs::path& path) {
  std::ifstream file(path);
  if (!file) throw Error(ErrorKind::kIo, text("can't open ", path));
  return Json::parse(file);
}

std::vector<float> read_floats(const fs::path& path, std::size_t count) {
  std::vector<float> values(count);
  const auto bytes = static_cast<std::streamsize>(count * sizeof(float));
  if (!fs::exists(path) || fs::file_size(path) != static_cast<std::uintmax_t>(bytes)) {
    throw Error(ErrorKind::kBadFile, text(path, " should hold ", count, " floats"));
  }
  std::ifstream(path, std::ios::binary).read(reinterpret_cast<char*>(values.data()), bytes);
  return values;
}

std::vector<TinyReference> read_tiny() {
  const fs::path folder = data_folder() / "tiny";
  std::vector<TinyReference> models;
  for (const Json& entry : read_json(folder / "index.json")) {
    TinyReference model;
    entry.at("name").get_to(model.name);
    entry.at("about").get_to(model.about);
    entry.at("ids").get_to(model.ids);
    entry.at("vocab").get_to(model.vocab);
    model.gguf = folder / (model.name + ".gguf");
    model.logits = read_floats(folder / (model.name + ".f32"), model.ids.size() * model.vocab);
    models.push_back(std::move(model));
  }
  return models;
}

PromptReference read_prompt(const Json& entry) {
  PromptReference prompt;
  entry.at("name").get_to(prompt.name);
  entry.at("text").get_to(prompt.text);
  entry.at("ids").get_to(prompt.ids);
  entry.at("continuation").get_to(prompt.continuation);
  entry.at("gaps").get_to(prompt.gaps);
  for (const Json& position : entry.at("probes")) {
    prompt.probes.push_back({position.get<std::size_t>(), {}});
  }
  return prompt;
}

LogitsReference read_logits() {
  const Json index = read_json(data_folder() / "logits.json");
  LogitsReference reference;
  index.at("vocab").get_to(reference.vocab);
  index.at("stride").get_to(reference.stride);
  std::size_t probe_count = 0;
  for (const Json& entry : index.at("prompts")) {
    reference.prompts.push_back(read_prompt(entry));
    probe_count += reference.prompts.back().probes.size();
  }
  const std::size_t width = (reference.vocab + reference.stride - 1) / reference.stride;
  const std::vector<float> values = read_floats(data_folder() / "logits.f32", probe_count * width);
  auto next = values.begin();
  for (PromptReference& prompt : reference.prompts) {
    for (LogitsProbe& probe : prompt.probes) {
      probe.values.assign(next, next + static_cast<std::ptrdiff_t>(width));
      next += static_cast<std::ptrdiff_t>(width);
    }
  }
  return reference;
}

}  // namespace

const std::vector<TinyReference>& tiny_references() {
  static const std::vector<TinyReference> references = read_tiny();
  return references;
}

const TinyReference& tiny_reference(std::string_view name) {
  for (const TinyReference& reference : tiny_references()) {
    if (reference.name == name) return reference;
  }
  throw Error(ErrorKind::kUsage, text("no tiny model is called ", name));
}

std::string tiny_gguf(std::string_view name) {
  return tiny_reference(name).gguf;
}

const LogitsReference& logits_reference() {
  static const LogitsReference reference = read_logits();
  return reference;
}

fs::path real_model() {
  const char* named = std::getenv("SLUICE_TEST_MODEL");
  const fs::path path = named != nullptr ? fs::path(named)
                                         : fs::path(SLUICE_SOURCE_DIR) /
                                               ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!fs::exists(path)) {
    throw Error(ErrorKind::kIo, text(path,
                                     " isn't there; tests/run gets it, tests/run --quick "
                                     "goes without it"));
  }
  return path;
}

double relative_error(std::span<const float> got, std::span<const float> wanted) {
  if (got.size() != wanted.size()) {
    throw Error(ErrorKind::kInternal,
                text("comparing ", got.size(), " values with ", wanted.size()));
  }
  double off = 0.0;
  double size = 0.0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    off += std::pow(static_cast<double>(got[i]) - wanted[i], 2);
    size += std::pow(static_cast<double>(wanted[i]), 2);
  }
  return std::sqrt(off / size);
}

}  // namespace sluice
