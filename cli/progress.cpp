#include "cli/progress.h"

#include <unistd.h>

#include <cstdio>

#include "memory/clock.h"
#include "memory/error.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr double kTerminalSeconds = 0.1;
constexpr double kLineSeconds = 5.0;
constexpr std::size_t kBarWidth = 24;

}  // namespace

ProgressBar::ProgressBar(std::string what, bool unit_bytes, bool quiet)
    : what_(std::move(what)),
      unit_bytes_(unit_bytes),
      quiet_(quiet),
      terminal_(isatty(STDERR_FILENO) != 0),
      begin_seconds_(now_seconds()),
      next_seconds_(begin_seconds_ + (terminal_ ? 2 * kTerminalSeconds : kLineSeconds)) {}

void ProgressBar::update(std::size_t done, std::size_t total) {
  const double now = now_seconds();
  if (quiet_ || now < next_seconds_ || total == 0) return;
  next_seconds_ = now + (terminal_ ? kTerminalSeconds : kLineSeconds);
  const std::string text = line(done, total, now - begin_seconds_);
  std::fprintf(stderr, terminal_ ? "\r\x1b[K%s" : "%s\n", text.c_str());
  std::fflush(stderr);
  shown_ = true;
}

void ProgressBar::finish() {
  if (shown_ && terminal_) std::fputs("\r\x1b[K", stderr);
  shown_ = false;
}

std::string ProgressBar::line(std::size_t done, std::size_t total, double seconds) const {
  const double share = static_cast<double>(done) / static_cast<double>(total);
  const double rate = static_cast<double>(done) / seconds;
  std::string bar;
  if (terminal_) {
    const auto filled = static_cast<std::size_t>(share * kBarWidth);
    bar = " [" + std::string(filled, '=') + std::string(kBarWidth - filled, ' ') + "]";
  }
  char numbers[96];
  std::snprintf(
      numbers, sizeof numbers, " %3.0f %%, %s, %.0f s left", 100.0 * share,
      unit_bytes_ ? print_rate(rate).c_str() : text(static_cast<long>(rate), " tokens/s").c_str(),
      static_cast<double>(total - done) / rate);
  return what_ + bar + numbers;
}

}  // namespace sluice
