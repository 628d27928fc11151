#include "layers/machine_rates.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "layers/products_isa.h"
#include "memory/clock.h"
#include "memory/parallel.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr std::size_t kMemoryBytes = 256_MiB;  // beyond any cache
constexpr std::size_t kPieceBytes = 1_MiB;
constexpr std::size_t kPeakRepeats = 20000;
constexpr std::size_t kPeakPieces = 64;
constexpr int kRuns = 3;

// Calls work(offset) for pieces that cover the first `bytes`.
template <typename Work>
void over_pieces(std::size_t bytes, const Work& work) {
  parallel_for(bytes / kPieceBytes, 1, [&](std::size_t first, std::size_t last) {
    for (std::size_t piece = first; piece < last; ++piece) work(piece * kPieceBytes);
  });
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

MachineMeter::MachineMeter() : memory_(kMemoryBytes) {
  over_pieces(kMemoryBytes,
              [&](std::size_t at) { std::memset(memory_.data() + at, 1, kPieceBytes); });
}

MachineRates MachineMeter::measure() {
  const ProductPeaks peaks = product_peaks();
  MachineRates rates;
  rates.fp32_per_second = measure_peak(peaks.multiply_add);
  rates.bf16_per_second = measure_peak(peaks.bf16_dot);
  rates.int8_per_second = measure_peak(peaks.dot);
  std::byte* begin = memory_.data();
  std::atomic<float> sink{0.0f};
  const double reading = best_seconds(kRuns, [&] {
    over_pieces(kMemoryBytes, [&](std::size_t at) { sink = peaks.read(begin + at, kPieceBytes); });
  });
  constexpr std::size_t kHalf = kMemoryBytes / 2;
  const double copying = best_seconds(kRuns, [&] {
    over_pieces(kHalf,
                [&](std::size_t at) { std::memcpy(begin + kHalf + at, begin + at, kPieceBytes); });
  });
  rates.read_bytes_per_second = static_cast<double>(kMemoryBytes) / reading;
  rates.copy_bytes_per_second = static_cast<double>(kHalf) / copying;
  return rates;
}

MachineRates median_of(std::span<const MachineRates> all) {
  MachineRates middle;
  for (double MachineRates::*rate :
       {&MachineRates::read_bytes_per_second, &MachineRates::copy_bytes_per_second,
        &MachineRates::fp32_per_second, &MachineRates::bf16_per_second,
        &MachineRates::int8_per_second}) {
    std::vector<double> values;
    for (const MachineRates& one : all) values.push_back(one.*rate);
    middle.*rate = median(std::move(values));
  }
  return middle;
}

}  // namespace sluice
