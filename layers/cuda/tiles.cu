// Packed weights and grouped activations as plain matrices, for the tensor cores.
#include "layers/cuda/kernels.h"
#include "layers/cuda/weights.cuh"
#include "memory/quantised_types.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr int kThreads = 256;
constexpr int kColumns = 32;  // that a thread takes
constexpr int kGroupsPerBlock = kThreads / static_cast<int>(kPanelRows);

template <typename Value>
__device__ __forceinline__ Value tile_value(float value) {
  if constexpr (std::is_same_v<Value, __half>) {
    return __float2half_rn(value);
  } else if constexpr (std::is_same_v<Value, __nv_bfloat16>) {
    return __float2bfloat16(value);
  } else {
    return value;
  }
}

// 32 values of a row, to where 16 bytes are aligned.
template <typename Value>
__device__ __forceinline__ void store_columns(Value* to, const float (&values)[kColumns]) {
  constexpr int kTogether = 16 / static_cast<int>(sizeof(Value));
#pragma unroll
  for (int c = 0; c < kColumns; c += kTogether) {
    alignas(16) Value together[kTogether];
#pragma unroll
    for (int i = 0; i < kTogether; ++i) together[i] = tile_value<Value>(values[c + i]);
    *reinterpret_cast<int4*>(to + c) = *reinterpret_cast<const int4*>(together);
  }
}

template <DType kType>
__device__ __forceinline__ void decode_group(const std::byte* panel, int g, int row,
                                             float (&values)[kColumns]) {
  constexpr BlockLayout kLayout = block_layout(kType);
  constexpr int kGroups = static_cast<int>(kLayout.groups);
  RowGroup w;
  load_group<kType>(panel + g / kGroups * kLayout.block_bytes(), g % kGroups, row, w);
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
    constexpr int kBytes = kLayout.bytes ? 1 : 0;
    const unsigned byte = w.quads[c / 4] >> c % 4 * 8 & 255;
    const int q = kBytes ? static_cast<std::int8_t>(byte) : static_cast<int>(byte);
    const int h = kLayout.halves ? c / 16 : 0;
    values[c] = w.scale[h] * small_to_float(q - kQuadOffset<kType>);
    if constexpr (kLayout.mins) values[c] -= w.minus_min[h];
  }
}

// Blocks [groups / 16][panels]: 16 rows x 16 groups of columns.
template <DType kType, typename Value>
__global__ void __launch_bounds__(kThreads)
    tile_quantised(const std::byte* panels, std::size_t panel_bytes, unsigned columns,
                   Value* tile) {
  const int row = static_cast<int>(threadIdx.x % kPanelRows);
  const unsigned g = blockIdx.x * kGroupsPerBlock + threadIdx.x / kPanelRows;
  if (g * kColumns >= columns) return;
  float values[kColumns];
  decode_group<kType>(panels + blockIdx.y * panel_bytes, static_cast<int>(g), row, values);
  const std::size_t tile_row = std::size_t{blockIdx.y} * kPanelRows + row;
  store_columns(tile + tile_row * columns + g * kColumns, values);
}

template <DType kType>
__device__ __forceinline__ float float_weight(const std::byte* panel, std::size_t c, int row) {
  if constexpr (kType == DType::kF32) {
    return reinterpret_cast<const float*>(panel)[c * kPanelRows + row];
  } else if constexpr (kType == DType::kF16) {
    return __half2float(reinterpret_cast<const __half*>(panel)[c * kPanelRows + row]);
  } else {
    const std::size_t at = (c / 2 * kPanelRows + row) * 2 + c % 2;
    const unsigned bits = reinterpret_cast<const unsigned short*>(panel)[at];
    return __uint_as_float(bits << 16);
  }
}

// Blocks [columns / 16][panels] of 16 x 16 values: read a column, written a row at a time.
template <DType kType, typename Value>
__global__ void __launch_bounds__(kThreads)
    tile_floats(const std::byte* panels, std::size_t panel_bytes, unsigned columns, Value* tile) {
  SLUICE_SHARED(float, square, [16][17]);
  const int fast = static_cast<int>(threadIdx.x % 16);
  const int slow = static_cast<int>(threadIdx.x / 16);
  const unsigned first = blockIdx.x * 16;
  const std::byte* panel = panels + blockIdx.y * panel_bytes;
  if (first + slow < columns) square[slow][fast] = float_weight<kType>(panel, first + slow, fast);
  __syncthreads();
  if (first + fast >= columns) return;
  const std::size_t tile_row = std::size_t{blockIdx.y} * kPanelRows + slow;
  tile[tile_row * columns + first + fast] = tile_value<Value>(square[fast][slow]);
}

// ---- Activations.

template <typename Value>
__device__ __forceinline__ Value tile_activation(float value) {
  if constexpr (std::is_same_v<Value, __half>) {
    constexpr float kLargest = 65504.0f;
    const float scaled = value * (1.0f / kHalfTileScale);
    // NaN passes both comparisons by.
    return __float2half_rn(scaled > kLargest ? kLargest : scaled < -kLargest ? -kLargest : scaled);
  } else {
    return tile_value<Value>(value);
  }
}

template <ActivationForm kForm>
__device__ __forceinline__ float activation(const std::byte* row, unsigned c) {
  if constexpr (kForm == ActivationForm::kF32) {
    return reinterpret_cast<const float*>(row)[c];
  } else if constexpr (kForm == ActivationForm::kBf16) {
    const unsigned bits = reinterpret_cast<const unsigned short*>(row)[c];
    return __uint_as_float(bits << 16);
  } else if constexpr (kForm == ActivationForm::kInt8) {
    const Int8Group& group = reinterpret_cast<const Int8Group*>(row)[c / kActivationGroup];
    return group.scale * static_cast<float>(group.high[c % kActivationGroup]);
  } else {
    const Int16Group& group = reinterpret_cast<const Int16Group*>(row)[c / kActivationGroup];
    const unsigned i = c % kActivationGroup;
    return group.scale * static_cast<float>(group.high[i] * 128 + group.low[i]);
  }
}

// Blocks [tokens][columns / kThreads].
template <ActivationForm kForm, typename Value>
__global__ void __launch_bounds__(kThreads)
    tile_rows(const std::byte* in, std::size_t row_bytes, unsigned columns, Value* tile) {
  const unsigned c = blockIdx.y * kThreads + threadIdx.x;
  if (c >= columns) return;
  const std::size_t token = blockIdx.x;
  tile[token * columns + c] = tile_activation<Value>(activation<kForm>(in + token * row_bytes, c));
}

template <typename Body>
void with_tile_type(TileType type, const Body& body) {
  switch (type) {
    case TileType::kF16:
      return body.template operator()<__half>();
    case TileType::kBf16:
      return body.template operator()<__nv_bfloat16>();
    case TileType::kF32:
      return body.template operator()<float>();
  }
}

dim3 grid_of(std::size_t x, std::size_t y) {
  return dim3(static_cast<unsigned>(x), static_cast<unsigned>(y));
}

}  // namespace

void tile_weights(cudaStream_t stream, DType type, const std::byte* panels, std::size_t rows,
                  std::size_t columns, TileType tile_type, std::byte* tile) {
  const std::size_t count = ceil_div(rows, kPanelRows);
  const std::size_t bytes = panel_bytes(type, columns);
  const Touches touches{reads(panels, count * bytes),
                        writes(tile, count * kPanelRows * columns * tile_value_bytes(tile_type))};
  const auto run = [&]<typename Value>(auto* kernel, std::size_t block_columns) {
    launch("tile of weights", stream,
           {grid_of(ceil_div(columns, block_columns), count), dim3(kThreads)}, touches, kernel,
           panels, bytes, static_cast<unsigned>(columns), reinterpret_cast<Value*>(tile));
  };
  const auto floats = [&]<DType kType, typename Value>() {
    run.template operator()<Value>(tile_floats<kType, Value>, 16);
  };
  if (is_quantised(type)) {
    with_quantised(type, [&]<DType kType>() {
      constexpr std::size_t kBlockColumns = std::size_t{kGroupsPerBlock} * kColumns;
      if (tile_type == TileType::kF16) {
        return run.template operator()<__half>(tile_quantised<kType, __half>, kBlockColumns);
      }
      run.template operator()<float>(tile_quantised<kType, float>, kBlockColumns);
    });
    return;
  }
  with_tile_type(tile_type, [&]<typename Value>() {
    if (type == DType::kF32) return floats.template operator()<DType::kF32, Value>();
    if (type == DType::kF16) return floats.template operator()<DType::kF16, Value>();
    floats.template operator()<DType::kBF16, Value>();
  });
}

void tile_activations(cudaStream_t stream, ActivationForm form, const std::byte* in,
                      std::size_t tokens, std::size_t columns, TileType tile_type,
                      std::byte* tile) {
  const std::size_t row_bytes = activation_row_bytes(form, columns);
  const Touches touches{reads(in, tokens * row_bytes),
                        writes(tile, tokens * columns * tile_value_bytes(tile_type))};
  with_tile_type(tile_type, [&]<typename Value>() {
    const auto run = [&](auto* kernel) {
      launch("tile of activations", stream,
             {grid_of(tokens, ceil_div(columns, kThreads)), dim3(kThreads)}, touches, kernel, in,
             row_bytes, static_cast<unsigned>(columns), reinterpret_cast<Value*>(tile));
    };
    switch (form) {
      case ActivationForm::kF32:
        return run(tile_rows<ActivationForm::kF32, Value>);
      case ActivationForm::kBf16:
        return run(tile_rows<ActivationForm::kBf16, Value>);
      case ActivationForm::kInt8:
        return run(tile_rows<ActivationForm::kInt8, Value>);
      case ActivationForm::kInt16:
        return run(tile_rows<ActivationForm::kInt16, Value>);
    }
  });
}

}  // namespace sluice
