// All of a file, as it lies.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace sluice::testing {

// Empty where it can't be read.
inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

}  // namespace sluice::testing
