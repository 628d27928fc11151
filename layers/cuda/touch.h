// Memory that a kernel reads or writes: what the tests' stand-in checks that streams agree on.
#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <initializer_list>
#include <span>

namespace sluice {

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

// Those of one launch.
class Touches {
 public:
  Touches(std::initializer_list<Touch> touches) {
    for (const Touch& touch : touches) add(touch);
  }
  void add(const Touch& touch) {
    if (touch.begin == nullptr || touch.bytes == 0) return;
    assert(count_ < kMost);
    touches_[count_++] = touch;
  }
  operator std::span<const Touch>() const { return {touches_.data(), count_}; }

 private:
  static constexpr std::size_t kMost = 16;
  std::array<Touch, kMost> touches_;
  std::size_t count_ = 0;
};

}  // namespace sluice
