// Error and its kinds; text(...), which joins the parts of a message.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace sluice {

// What a caller can act on. cli/ maps each to an exit code (docs/errors.md).
enum class ErrorKind {
  kInternal,    // a defect of Sluice
  kUsage,       // an option or argument that can't be honoured
  kBadFile,     // a model file that is damaged or not supported
  kOverBudget,  // a memory limit that can't be kept
  kIo,          // the operating system refused a file or a folder
  kDevice,      // the GPU or its driver: missing, too old, out of memory, failing
};

// A failure. The message says what was being done, what was found, what was needed and, where
// known, what to do. One line, no trailing full stop needed.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

// Joins the parts of a message as operator<< prints them.
template <typename... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

}  // namespace sluice
