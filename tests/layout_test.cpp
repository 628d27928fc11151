// The one direction: memory <- layers <- offload <- cli, and nobody includes tests/.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 5> kFolders = {"memory", "layers", "offload", "cli",
                                                      "tests"};

// The folder that an #include "folder/file.h" names, or kFolders.size() for any other line.
std::size_t included_folder(std::string_view line) {
  constexpr std::string_view kInclude = "#include \"";
  if (!line.starts_with(kInclude)) return kFolders.size();
  line.remove_prefix(kInclude.size());
  const auto folder = std::ranges::find(kFolders, line.substr(0, line.find('/')));
  return static_cast<std::size_t>(folder - kFolders.begin());
}

// "file: line" of each include in `folder` of a folder that comes after it.
std::vector<std::string> wrong_includes(std::size_t folder) {
  std::vector<std::string> wrong;
  for (const auto& entry :
       fs::recursive_directory_iterator(fs::path(SLUICE_SOURCE_DIR) / kFolders[folder])) {
    const auto extension = entry.path().extension();
    if (extension != ".h" && extension != ".cpp" && extension != ".cu") continue;
    std::ifstream file(entry.path());
    for (std::string line; std::getline(file, line);) {
      const std::size_t included = included_folder(line);
      if (included < kFolders.size() && included > folder) {
        wrong.push_back(entry.path().filename().string() + ": " + line);
      }
    }
  }
  return wrong;
}

}  // namespace

TEST_CASE("layout: a folder includes itself and those before it, never those after it") {
  CHECK(included_folder("#include \"layers/products.h\"") == 1);
  CHECK(included_folder("#include <array>") == kFolders.size());
  for (std::size_t folder = 0; folder + 1 < kFolders.size(); ++folder) {
    CAPTURE(kFolders[folder]);
    for (const std::string& line : wrong_includes(folder)) FAIL_CHECK(line);
  }
}
