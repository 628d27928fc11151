// Rows of logits in a few numbers each. Bound by reading them once, and where rows are few by the
// search for the highest. One block of threads takes kPartLogits of a row, a thread 16 of them in
// registers; another puts a row's parts together. A logit and its id are one number, whose order is
// the order that is wanted, so the highest are exact whichever thread comes first.
#include "layers/cuda/kernels.h"
#include "layers/cuda/reduce.cuh"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kWarps = kThreads / kWarpThreads;
constexpr unsigned kMine = kPartLogits / kThreads;  // keys of a thread
static_assert(kPartLogits % kThreads == 0 && kTopLogits <= kThreads);

using Key = unsigned long long;

// Greater for higher logits, and among equals for lower ids; 0 for NaN and -inf.
__device__ __forceinline__ Key key_of(float logit, unsigned id) {
  if (!(logit > -INFINITY)) return 0;
  const unsigned bits = __float_as_uint(logit + 0.0f);  // -0 is 0
  const unsigned ordered = bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
  return Key{ordered} << 32 | ~id;
}

__device__ __forceinline__ float logit_of(Key key) {
  const auto ordered = static_cast<unsigned>(key >> 32);
  return __uint_as_float(ordered >> 31 != 0 ? ordered & 0x7fffffffu : ~ordered);
}

__device__ __forceinline__ unsigned id_of(Key key) {
  return ~static_cast<unsigned>(key);
}

// What a block of threads works in.
struct Shared {
  unsigned counts[2][kWarps];
  unsigned kept;
  Key chosen[kTopLogits];  // in any order
  Key top[kTopLogits];     // in theirs
};

// How many of the block's keys are `least` or above. `turn`: 0 and 1 in turns, so that one barrier
// does.
__device__ unsigned count_from(const Key (&keys)[kMine], Key least, unsigned turn, Shared& shared) {
  unsigned mine = 0;
#pragma unroll
  for (unsigned i = 0; i < kMine; ++i) mine += keys[i] >= least ? 1 : 0;
  mine = warp_sum(mine);
  if (threadIdx.x % kWarpThreads == 0) shared.counts[turn][threadIdx.x / kWarpThreads] = mine;
  __syncthreads();
  unsigned count = 0;
  for (unsigned w = 0; w < kWarps; ++w) count += shared.counts[turn][w];
  return count;
}

// The greatest of the block's keys, in order, to shared.top; returns how many there are. Keys
// differ, but for 0. The least that is taken is found bit by bit.
__device__ unsigned find_top(const Key (&keys)[kMine], Shared& shared) {
  Key least = 1;
  unsigned count = count_from(keys, least, 0, shared);
  if (count > kTopLogits) {
    least = 0;
    for (int bit = 63; bit >= 0 && count != kTopLogits; --bit) {
      const Key higher = least | Key{1} << bit;
      const unsigned above = count_from(keys, higher, static_cast<unsigned>(bit) % 2, shared);
      if (above < kTopLogits) continue;
      least = higher;
      count = above;
    }
  }
  if (threadIdx.x == 0) shared.kept = 0;
  __syncthreads();
#pragma unroll
  for (unsigned i = 0; i < kMine; ++i) {
    if (keys[i] >= least) shared.chosen[atomicAdd(&shared.kept, 1u)] = keys[i];
  }
  __syncthreads();
  if (threadIdx.x < count) {
    const Key mine = shared.chosen[threadIdx.x];
    unsigned before = 0;
    for (unsigned i = 0; i < count; ++i) before += shared.chosen[i] > mine ? 1 : 0;
    shared.top[before] = mine;
  }
  __syncthreads();
  return count;
}

__device__ void store_top(const Shared& shared, unsigned count, LogitsSummary& out) {
  if (threadIdx.x < count) {
    const Key key = shared.top[threadIdx.x];
    out.logits[threadIdx.x] = logit_of(key);
    out.ids[threadIdx.x] = static_cast<std::int32_t>(id_of(key));
  }
  if (threadIdx.x == 0) out.count = static_cast<std::int32_t>(count);
}

// Blocks [rows][parts]. A part's sum is relative to its own highest.
__global__ void __launch_bounds__(kThreads) summarise_parts(SummariseArgs a) {
  SLUICE_SHARED(Shared, shared, [1]);
  const std::size_t row = blockIdx.x;
  const float* logits = a.logits + row * a.vocab;
  LogitsSummary& out = a.parts[row * gridDim.y + blockIdx.y];
  const unsigned begin = blockIdx.y * static_cast<unsigned>(kPartLogits) + threadIdx.x;
  float mine[kMine];
  float highest = -INFINITY;
#pragma unroll
  for (unsigned i = 0; i < kMine; ++i) {
    const unsigned id = begin + i * kThreads;
    mine[i] = id < a.vocab ? logits[id] : -INFINITY;
    highest = mine[i] > highest ? mine[i] : highest;
  }
  highest = block_max<kWarps>(highest);
  const float scale = a.queries[row].scale;
  const float base = highest > -INFINITY ? highest : 0.0f;
  float sum = 0.0f;
  if (scale != 0.0f) {
#pragma unroll
    for (unsigned i = 0; i < kMine; ++i) sum += expf((mine[i] - base) * scale);  // of -inf: 0
  }
  const double total = block_sum<kWarps>(static_cast<double>(sum));
  if (threadIdx.x == 0) {
    out.highest = highest;
    out.sum = total;
  }
  if (!a.top) return;
  Key keys[kMine];
#pragma unroll
  for (unsigned i = 0; i < kMine; ++i) keys[i] = key_of(mine[i], begin + i * kThreads);
  store_top(shared[0], find_top(keys, shared[0]), out);
}

// Blocks [rows].
__global__ void __launch_bounds__(kThreads) merge_parts(SummariseArgs a, unsigned parts) {
  SLUICE_SHARED(Shared, shared, [1]);
  const std::size_t row = blockIdx.x;
  const LogitsSummary* from = a.parts + row * parts;
  LogitsSummary& out = a.out[row];
  float highest = -INFINITY;
  for (unsigned p = threadIdx.x; p < parts; p += kThreads) {
    highest = from[p].highest > highest ? from[p].highest : highest;
  }
  highest = block_max<kWarps>(highest);
  const LogitsQuery query = a.queries[row];
  double sum = 0.0;
  if (query.scale != 0.0f) {
    for (unsigned p = threadIdx.x; p < parts; p += kThreads) {
      sum += from[p].sum * exp((static_cast<double>(from[p].highest) - highest) * query.scale);
    }
  }
  sum = block_sum<kWarps>(sum);
  if (threadIdx.x == 0) {
    out.sum = sum;
    out.highest = highest;
    out.target = query.target < 0 ? __uint_as_float(0x7fc00000u)
                                  : a.logits[row * a.vocab + static_cast<unsigned>(query.target)];
    out.count = 0;
  }
  if (!a.top) return;
  // As many parts at once as there is room for beside the best so far.
  constexpr unsigned kTop = kTopLogits;
  constexpr unsigned kAtOnce = kPartLogits / kTop - 1;
  unsigned count = 0;
  for (unsigned first = 0; first < parts; first += kAtOnce) {
    Key keys[kMine];
#pragma unroll
    for (unsigned i = 0; i < kMine; ++i) {
      const unsigned at = threadIdx.x + i * kThreads;
      const unsigned p = first + at / kTop - 1;  // the first kTop are the best so far
      keys[i] = 0;
      if (at < kTop) {
        if (at < count) keys[i] = shared[0].top[at];
      } else if (p < parts && at % kTop < static_cast<unsigned>(from[p].count)) {
        const unsigned id = static_cast<unsigned>(from[p].ids[at % kTop]);
        keys[i] = key_of(from[p].logits[at % kTop], id);
      }
    }
    count = find_top(keys, shared[0]);
  }
  store_top(shared[0], count, out);
}

}  // namespace

void summarise_rows(cudaStream_t stream, const SummariseArgs& a) {
  const auto rows = static_cast<unsigned>(a.rows);
  const auto parts = static_cast<unsigned>(summary_parts(a.vocab));
  const std::size_t parts_bytes = a.rows * parts * sizeof(LogitsSummary);
  const Touch logits = reads(a.logits, a.rows * a.vocab * sizeof(float));
  const Touch queries = reads(a.queries, a.rows * sizeof(LogitsQuery));
  launch("summarise parts", stream, {dim3(rows, parts), dim3(kThreads)},
         Touches{logits, queries, writes(a.parts, parts_bytes)}, summarise_parts, a);
  launch("merge parts", stream, {dim3(rows), dim3(kThreads)},
         Touches{logits, queries, reads(a.parts, parts_bytes),
                 writes(a.out, a.rows * sizeof(LogitsSummary))},
         merge_parts, a, parts);
}

}  // namespace sluice
