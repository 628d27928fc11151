// Another cache folder.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>

namespace sluice::testing {

// XDG_CACHE_HOME for a test's time.
class CacheHome {
 public:
  explicit CacheHome(const std::string& path) {
    const char* before = std::getenv("XDG_CACHE_HOME");
    if (before != nullptr) before_ = before;
    ::setenv("XDG_CACHE_HOME", path.c_str(), 1);
  }
  ~CacheHome() {
    if (before_) {
      ::setenv("XDG_CACHE_HOME", before_->c_str(), 1);
    } else {
      ::unsetenv("XDG_CACHE_HOME");
    }
  }
  CacheHome(const CacheHome&) = delete;

 private:
  std::optional<std::string> before_;
};

}  // namespace sluice::testing
