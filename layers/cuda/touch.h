// Which memory a kernel touches, as its launch says.
#pragma once

#include <cstddef>

namespace sluice {

// Memory that a kernel reads or writes. The tests' stand-in checks that streams agree on it.
struct Touch {
  const void* begin;
  std::size_t bytes;
  bool written;
};
inline Touch reads(const void* begin, std::size_t bytes) {
  return {begin, bytes, false};
}
inline Touch writes(const void* begin, std::size_t bytes) {
  return {begin, bytes, true};
}

}  // namespace sluice
