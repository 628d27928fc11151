// What the CUDA sources of kernels offer to OpsCuda: each call enqueues on a stream and returns.
//
// All memory is the device's. Every call throws Error{kDevice} if the launch is refused.
#pragma once

#include <driver_types.h>

#include <cstddef>
#include <span>

#include "layers/cuda/touch.h"
#include "layers/ops.h"
#include "layers/scratch.h"

namespace sluice {

void norm_rows(cudaStream_t stream, const NormArgs& args);
void swiglu_rows(cudaStream_t stream, const SwiGluArgs& args);
void add_bias_rows(cudaStream_t stream, const BiasArgs& args);
void summarise_rows(cudaStream_t stream, const SummariseArgs& args);
void rotate_rows(cudaStream_t stream, const RotateArgs& args);
// Puts f32 activations, which out has, into every other form that out wants.
void convert_rows(cudaStream_t stream, const Activations& out, std::size_t tokens,
                  std::size_t columns);

// ---- Products of 1 to kFewTokens tokens.

// What a kernel needs of a ProductArgs.
struct FewTokensProduct {
  const std::byte* panels;
  std::size_t panel_bytes;
  std::size_t rows;
  std::size_t columns;
  const std::byte* in;
  std::size_t in_bytes;  // from token to token
  float* out;
  std::size_t out_stride;
  bool accumulate;
};

// Products of one type and form in one launch; their panels are numbered through.
struct FewTokensBatch {
  FewTokensProduct products[ProductBatch::kMost];
  unsigned first_panel[ProductBatch::kMost + 1];  // the total comes last
  unsigned count;
  unsigned tokens;
};

void few_tokens_int8(DType type, cudaStream_t stream, const FewTokensBatch& batch,
                     std::span<const Touch> touches);
void few_tokens_int16(DType type, cudaStream_t stream, const FewTokensBatch& batch,
                      std::span<const Touch> touches);
void few_tokens_floats(DType type, ActivationForm form, cudaStream_t stream,
                       const FewTokensBatch& batch, std::span<const Touch> touches);

// ---- Products of more tokens.

// Activations of kF16 tiles are divided by this, so that the largest stay within a half's range,
// and saturate beyond; the product is multiplied by it.
inline constexpr float kHalfTileScale = 16.0f;

// Decodes the panels of [rows, columns] into `tile`, row by row; [panels * 16, columns].
void tile_weights(cudaStream_t stream, DType type, const std::byte* panels, std::size_t rows,
                  std::size_t columns, TileType tile_type, std::byte* tile);
// [tokens, columns] in `form`, as `tile_type` in rows without gaps.
void tile_activations(cudaStream_t stream, ActivationForm form, const std::byte* in,
                      std::size_t tokens, std::size_t columns, TileType tile_type, std::byte* tile);

// ---- Attention.

// Where chunks met apart leave their states: [token][chunk][head] of head_dim + 2 floats.
struct AttentionStates {
  float* begin = nullptr;
  std::size_t capacity_rows = 0;  // of tokens x chunks
};
// Each chunk gives one state and states are merged in order, so it doesn't matter whether chunks
// are met by one block of threads or by many.
// `processors`: how many the device has, to tell whether chunks are worth being met apart.
// `halves`: queries and softmax's weights may be rounded to halves, for the tensor cores.
void attend_pages(cudaStream_t stream, const AttentionArgs& args, const AttentionStates& states,
                  std::size_t processors, bool halves);

}  // namespace sluice
