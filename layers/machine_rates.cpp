#include "layers/machine_rates.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "layers/products_isa.h"
#include "memory/clock.h"
#include "memory/host_store.h"
#include "memory/parallel.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr std::size_t kReadBytes = 512_MiB;  // beyond any cache
constexpr std::size_t kPieceBytes = 1_MiB;
constexpr std::size_t kPeakRepeats = 20000;
constexpr std::size_t kPeakPieces = 64;
constexpr int kRuns = 5;

void measure_memory(MachineRates& rates) {
  HostStore memory(kReadBytes, false);
  std::byte* begin = memory.data();
  constexpr std::size_t kPieces = kReadBytes / kPieceBytes;
  const auto over_pieces = [](std::size_t count, const auto& work) {
    parallel_for(count, 1, [&](std::size_t first, std::size_t last) {
      for (std::size_t piece = first; piece < last; ++piece) work(piece * kPieceBytes);
    });
  };
  over_pieces(kPieces, [&](std::size_t at) { std::memset(begin + at, 1, kPieceBytes); });
  std::atomic<float> sink{0.0f};
  const auto read = product_peaks().read;
  const double reading = best_seconds(kRuns, [&] {
    over_pieces(kPieces, [&](std::size_t at) { sink = read(begin + at, kPieceBytes); });
  });
  const double copying = best_seconds(kRuns, [&] {
    over_pieces(kPieces / 2, [&](std::size_t at) {
      std::memcpy(begin + kReadBytes / 2 + at, begin + at, kPieceBytes);
    });
  });
  rates.read_bytes_per_second = static_cast<double>(kReadBytes) / reading;
  rates.copy_bytes_per_second = static_cast<double>(kReadBytes / 2) / copying;
}

double measure_peak(const ArithmeticPeak& peak) {
  if (peak.run == nullptr) return 0.0;
  std::atomic<float> sink{0.0f};
  const double seconds = best_seconds(kRuns, [&] {
    parallel_for(kPeakPieces, 1, [&](std::size_t first, std::size_t last) {
      for (std::size_t piece = first; piece < last; ++piece) sink = peak.run(kPeakRepeats);
    });
  });
  return static_cast<double>(kPeakPieces * kPeakRepeats) * peak.operations / seconds;
}

}  // namespace

double MachineRates::operations_per_second(DType type) const {
  if (is_quantised(type)) return int8_per_second;
  return type == DType::kBF16 ? std::max(bf16_per_second, fp32_per_second) : fp32_per_second;
}

MachineRates measure_machine() {
  MachineRates rates;
  const ProductPeaks peaks = product_peaks();
  rates.fp32_per_second = measure_peak(peaks.multiply_add);
  rates.bf16_per_second = measure_peak(peaks.bf16_dot);
  rates.int8_per_second = measure_peak(peaks.dot);
  measure_memory(rates);
  return rates;
}

MachineRates best_of(const MachineRates& a, const MachineRates& b) {
  return {std::max(a.read_bytes_per_second, b.read_bytes_per_second),
          std::max(a.copy_bytes_per_second, b.copy_bytes_per_second),
          std::max(a.fp32_per_second, b.fp32_per_second),
          std::max(a.bf16_per_second, b.bf16_per_second),
          std::max(a.int8_per_second, b.int8_per_second)};
}

}  // namespace sluice
