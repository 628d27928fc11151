// Progress on standard error: a bar on a terminal, now and then a line elsewhere.
#pragma once

#include <cstddef>
#include <string>

namespace sluice {

class ProgressBar {
 public:
  // `what`: "loading"; `unit_bytes`: whether amounts are bytes, or tokens.
  ProgressBar(std::string what, bool unit_bytes, bool quiet);
  ~ProgressBar() { finish(); }
  ProgressBar(const ProgressBar&) = delete;

  // Draws if it is time to: short work shows nothing.
  void update(std::size_t done, std::size_t total);
  // update, for who tells of progress by a call; the bar must outlive those calls.
  auto updater() {
    return [this](std::size_t done, std::size_t total) { update(done, total); };
  }
  // Removes the bar.
  void finish();

 private:
  std::string line(std::size_t done, std::size_t total, double seconds) const;

  std::string what_;
  bool unit_bytes_;
  bool quiet_;
  bool terminal_;
  bool shown_ = false;
  double begin_seconds_;
  double next_seconds_;  // when to draw next
};

}  // namespace sluice
