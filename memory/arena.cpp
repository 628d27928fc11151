#include "memory/arena.h"

#include "memory/error.h"
#include "memory/units.h"

namespace sluice {

std::byte* Arena::lend(std::size_t bytes, std::string_view what) {
  const std::size_t lent = align_up(bytes);
  if (lent < bytes || lent > limit_bytes_ - lent_bytes_) {
    throw Error(ErrorKind::kInternal,
                text("the plan left no room for ", what, ": ", lent, " bytes wanted, ",
                     limit_bytes_ - lent_bytes_, " of ", limit_bytes_, " left"));
  }
  std::byte* begin = begin_ + lent_bytes_;
  lent_bytes_ += lent;
  return begin;
}

}  // namespace sluice
