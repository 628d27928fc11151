#include "cli/user_folders.h"

#include <cstdlib>

#include "memory/error.h"

namespace sluice {
namespace {

std::filesystem::path value_of(const char* variable) {
  const char* value = std::getenv(variable);
  return value == nullptr ? "" : value;
}

// A path that isn't absolute is to be ignored, says the specification.
std::filesystem::path user_folder(const char* variable, const char* in_home) {
  if (const std::filesystem::path base = value_of(variable); base.is_absolute()) {
    return base / "sluice";
  }
  const std::filesystem::path home = value_of("HOME");
  return home.is_absolute() ? home / in_home / "sluice" : std::filesystem::path();
}

}  // namespace

std::filesystem::path cache_folder() {
  std::filesystem::path folder = user_folder("XDG_CACHE_HOME", ".cache");
  if (folder.empty()) {
    throw Error(ErrorKind::kIo, "there is no cache folder: set XDG_CACHE_HOME or HOME");
  }
  return folder;
}

std::filesystem::path config_folder() {
  return user_folder("XDG_CONFIG_HOME", ".config");
}

}  // namespace sluice
