// What a kernel sees of its thread, block and warp: indices, barriers, shuffles, votes.
//
// Each of the calls knows where it was called. Whoever breaks the rules of CUDA's execution model
// (threads of a block at different barriers, a lane named that has exited ...) is put down as a
// violation, and the grid is abandoned.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace sluice::emulation {

struct Site {
  const char* file;
  unsigned line;

  static constexpr Site here(const char* file = __builtin_FILE(),
                             unsigned line = __builtin_LINE()) {
    return {file, line};
  }
};

class BlockRunner;

struct ThreadIndices {
  uint3 thread;
  uint3 block;
  dim3 block_extent;
  dim3 grid_extent;
  BlockRunner* runner;
};

// The CUDA thread that this thread of the operating system is now.
extern constinit thread_local const ThreadIndices* current_thread;

// Returns in how many of the block's threads `predicate` holds.
unsigned block_barrier(const char* call, bool predicate, Site site);

enum class Shuffle { kIndex, kUp, kDown, kXor };
std::uint64_t shuffle(const char* call, Shuffle kind, unsigned mask, std::uint64_t bits,
                      int operand, int width, Site site);

void warp_barrier(unsigned mask, Site site);

// Returns in which lanes of the mask `predicate` holds.
unsigned vote(const char* call, unsigned mask, bool predicate, Site site);

// Lets the block's other threads go on first.
void yield(Site site);

// Ends the grid with a violation.
[[noreturn]] void trap(Site site);

template <typename T>
T shuffle_value(const char* call, Shuffle kind, unsigned mask, T value, int operand, int width,
                Site site) {
  static_assert(std::is_trivially_destructible_v<T> &&
                (sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8));
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = shuffle(call, kind, mask, bits, operand, width, site);
  std::memcpy(static_cast<void*>(&value), &bits, sizeof value);
  return value;
}

}  // namespace sluice::emulation

#define threadIdx (::sluice::emulation::current_thread->thread)
#define blockIdx (::sluice::emulation::current_thread->block)
#define blockDim (::sluice::emulation::current_thread->block_extent)
#define gridDim (::sluice::emulation::current_thread->grid_extent)
constexpr int warpSize = 32;

inline void __syncthreads(sluice::emulation::Site site = sluice::emulation::Site::here()) {
  sluice::emulation::block_barrier("__syncthreads", false, site);
}
inline int __syncthreads_count(int predicate,
                               sluice::emulation::Site site = sluice::emulation::Site::here()) {
  return static_cast<int>(
      sluice::emulation::block_barrier("__syncthreads_count", predicate != 0, site));
}
inline int __syncthreads_or(int predicate,
                            sluice::emulation::Site site = sluice::emulation::Site::here()) {
  return sluice::emulation::block_barrier("__syncthreads_or", predicate != 0, site) != 0;
}
inline int __syncthreads_and(int predicate,
                             sluice::emulation::Site site = sluice::emulation::Site::here()) {
  return sluice::emulation::block_barrier("__syncthreads_and", predicate == 0, site) == 0;
}

inline void __syncwarp(unsigned mask = 0xFFFFFFFFu,
                       sluice::emulation::Site site = sluice::emulation::Site::here()) {
  sluice::emulation::warp_barrier(mask, site);
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32,
              sluice::emulation::Site site = sluice::emulation::Site::here()) {
  using sluice::emulation::Shuffle;
  return sluice::emulation::shuffle_value("__shfl_sync", Shuffle::kIndex, mask, value, lane, width,
                                          site);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 sluice::emulation::Site site = sluice::emulation::Site::here()) {
  using sluice::emulation::Shuffle;
  return sluice::emulation::shuffle_value("__shfl_up_sync", Shuffle::kUp, mask, value,
                                          static_cast<int>(delta), width, site);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   sluice::emulation::Site site = sluice::emulation::Site::here()) {
  using sluice::emulation::Shuffle;
  return sluice::emulation::shuffle_value("__shfl_down_sync", Shuffle::kDown, mask, value,
                                          static_cast<int>(delta), width, site);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32,
                  sluice::emulation::Site site = sluice::emulation::Site::here()) {
  using sluice::emulation::Shuffle;
  return sluice::emulation::shuffle_value("__shfl_xor_sync", Shuffle::kXor, mask, value, lane_mask,
                                          width, site);
}

inline unsigned __ballot_sync(unsigned mask, int predicate,
                              sluice::emulation::Site site = sluice::emulation::Site::here()) {
  return sluice::emulation::vote("__ballot_sync", mask, predicate != 0, site);
}
inline int __any_sync(unsigned mask, int predicate,
                      sluice::emulation::Site site = sluice::emulation::Site::here()) {
  return sluice::emulation::vote("__any_sync", mask, predicate != 0, site) != 0;
}
inline int __all_sync(unsigned mask, int predicate,
                      sluice::emulation::Site site = sluice::emulation::Site::here()) {
  return sluice::emulation::vote("__all_sync", mask, predicate != 0, site) == mask;
}

inline void __nanosleep(unsigned /*ns*/,
                        sluice::emulation::Site site = sluice::emulation::Site::here()) {
  sluice::emulation::yield(site);
}
[[noreturn]] inline void __trap(sluice::emulation::Site site = sluice::emulation::Site::here()) {
  sluice::emulation::trap(site);
}
