// Kernels that do one thing as often as the GPU can: what measure_peaks times.
#pragma once

#include <driver_types.h>

#include <cstddef>

namespace sluice {

inline constexpr std::size_t kReadStepBytes = 16;
// Of a thread, in one step of its loop: a multiplication and an addition each.
inline constexpr std::size_t kPeakChains = 8;

// Random halves from -1 to 1: products of zeros draw less power and run at higher clocks.
void fill_halves(cudaStream_t stream, std::byte* begin, std::size_t count);
// Reads all, in `times` rounds. `bytes` is a multiple of kReadStepBytes; `sink` takes a word.
void read_all(cudaStream_t stream, const std::byte* begin, std::size_t bytes, std::size_t times,
              std::byte* sink, std::size_t processors);
// Returns how many operations it does.
double multiply_add(cudaStream_t stream, std::size_t steps, std::byte* sink,
                    std::size_t processors);

}  // namespace sluice
