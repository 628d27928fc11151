// Reading keeps four 16-byte loads a thread in flight; arithmetic, eight chains of multiply-adds.
// Results go to a sink that nobody reads, under a condition that doesn't hold, so that no compiler
// leaves the work out.
#include "layers/cuda/peak_kernels.h"

#include "layers/cuda/kernel.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kBlocksPerProcessor = 8;
constexpr unsigned kLoads = 4;
constexpr unsigned kNever = 0x9e3779b9u;  // no sum of what is read, but by rare chance: harmless

__device__ unsigned mix(unsigned x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

__global__ void __launch_bounds__(kThreads) fill(__half* halves, std::size_t count) {
  const std::size_t step = std::size_t{gridDim.x} * kThreads;
  for (std::size_t i = blockIdx.x * std::size_t{kThreads} + threadIdx.x; i < count; i += step) {
    const unsigned bits = mix(static_cast<unsigned>(i)) >> 16;
    halves[i] = __float2half_rn(static_cast<float>(bits) / 32768.0f - 1.0f);
  }
}

__global__ void __launch_bounds__(kThreads)
    read(const uint4* words, std::size_t count, std::size_t times, unsigned* sink) {
  const std::size_t step = std::size_t{gridDim.x} * kThreads;
  unsigned sum = 0;
  for (std::size_t round = 0; round < times; ++round) {
    std::size_t i = blockIdx.x * std::size_t{kThreads} + threadIdx.x;
    for (; i + (kLoads - 1) * step < count; i += kLoads * step) {
      uint4 loaded[kLoads];
#pragma unroll
      for (unsigned j = 0; j < kLoads; ++j) loaded[j] = words[i + j * step];
#pragma unroll
      for (unsigned j = 0; j < kLoads; ++j) {
        sum += loaded[j].x ^ loaded[j].y ^ loaded[j].z ^ loaded[j].w;
      }
    }
    for (; i < count; i += step) sum += words[i].x ^ words[i].y ^ words[i].z ^ words[i].w;
    sum = mix(sum + static_cast<unsigned>(round));  // so that rounds can't be folded into one
  }
  if (sum == kNever) *sink = sum;
}

__global__ void __launch_bounds__(kThreads)
    chains(std::size_t steps, float factor, float term, float* sink) {
  float values[kPeakChains];
#pragma unroll
  for (std::size_t c = 0; c < kPeakChains; ++c) {
    values[c] = static_cast<float>(threadIdx.x + c) * 1e-3f;
  }
#pragma unroll 4
  for (std::size_t s = 0; s < steps; ++s) {
#pragma unroll
    for (std::size_t c = 0; c < kPeakChains; ++c) values[c] = fmaf(values[c], factor, term);
  }
  float sum = 0.0f;
#pragma unroll
  for (std::size_t c = 0; c < kPeakChains; ++c) sum += values[c];
  if (sum < 0.0f) *sink = sum;
}

LaunchShape whole_gpu(std::size_t processors) {
  return {dim3(static_cast<unsigned>(processors) * kBlocksPerProcessor), dim3(kThreads)};
}

}  // namespace

void fill_halves(cudaStream_t stream, std::byte* begin, std::size_t count) {
  constexpr std::size_t kMostBlocks = 4096;
  const auto blocks = static_cast<unsigned>(std::min(ceil_div(count, kThreads), kMostBlocks));
  launch("fill", stream, {dim3(blocks), dim3(kThreads)},
         Touches{writes(begin, count * sizeof(__half))}, fill, reinterpret_cast<__half*>(begin),
         count);
}

void read_all(cudaStream_t stream, const std::byte* begin, std::size_t bytes, std::size_t times,
              std::byte* sink, std::size_t processors) {
  launch("read", stream, whole_gpu(processors),
         Touches{reads(begin, bytes), writes(sink, sizeof(unsigned))}, read,
         reinterpret_cast<const uint4*>(begin), bytes / kReadStepBytes, times,
         reinterpret_cast<unsigned*>(sink));
}

double multiply_add(cudaStream_t stream, std::size_t steps, std::byte* sink,
                    std::size_t processors) {
  const LaunchShape shape = whole_gpu(processors);
  launch("chains", stream, shape, Touches{writes(sink, sizeof(float))}, chains, steps, 0.999f,
         1e-3f, reinterpret_cast<float*>(sink));
  return 2.0 * kPeakChains * static_cast<double>(steps) * shape.grid.x * kThreads;
}

}  // namespace sluice
