// What a function throws, for tests that read its message.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <utility>

#include "memory/error.h"

namespace sluice::testing {

struct Failure {
  bool thrown = false;
  ErrorKind kind = ErrorKind::kInternal;
  std::string message;

  bool says(const std::string& part) const { return message.find(part) != std::string::npos; }
};

// Runs `body`, which must throw an Error of one line that a terminal can show.
template <typename Body>
Failure failure_of(Body&& body) {
  try {
    std::forward<Body>(body)();
  } catch (const Error& error) {
    const std::string message = error.what();
    CAPTURE(message);
    CHECK(!message.empty());
    for (const char c : message) CHECK(static_cast<unsigned char>(c) >= 0x20);
    return {true, error.kind(), message};
  }
  FAIL_CHECK("no Error was thrown");
  return {};
}

}  // namespace sluice::testing
