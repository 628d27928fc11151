// Where a user keeps what programs write and read for them, as the XDG base directories name it.
#pragma once

#include <filesystem>

namespace sluice {

// Sluice's folder in $XDG_CACHE_HOME or ~/.cache. Throws Error{kIo} if neither is known.
std::filesystem::path cache_folder();

// Sluice's folder in $XDG_CONFIG_HOME or ~/.config; empty if neither is known.
std::filesystem::path config_folder();

}  // namespace sluice
