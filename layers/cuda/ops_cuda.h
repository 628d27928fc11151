// Ops on a GPU, as kernels of our own and cuBLAS for products of many tokens.
#pragma once

#include <cublas_v2.h>

#include <memory>
#include <type_traits>

#include "layers/cuda/kernels.h"
#include "layers/ops.h"
#include "memory/cuda/device_cuda.h"

namespace sluice {

// Results of up to kFewTokens tokens don't depend on what else is in the call; those of more depend
// on their number, as cuBLAS's do.
class OpsCuda final : public Ops {
 public:
  // Borrows the device, on which what cuBLAS takes for itself is counted. Throws Error{kDevice} if
  // there is no cuBLAS.
  explicit OpsCuda(DeviceCuda& device);
  OpsCuda(const OpsCuda&) = delete;
  OpsCuda& operator=(const OpsCuda&) = delete;

  void use_scratch(std::byte* begin, const ScratchSizes& sizes, Precision precision) override;
  void norm(Stream& stream, const NormArgs& args) override;
  void product(Stream& stream, const ProductBatch& batch) override;
  void rotate(Stream& stream, const RotateArgs& args) override;
  void attend(Stream& stream, const AttentionArgs& args) override;
  void swiglu(Stream& stream, const SwiGluArgs& args) override;
  void add_bias(Stream& stream, const BiasArgs& args) override;
  void summarise(Stream& stream, const SummariseArgs& args) override;

 private:
  void few_tokens(cudaStream_t stream, const ProductBatch& batch) const;
  void many_tokens(cudaStream_t stream, const ProductArgs& args, bool same_input);
  void multiply(cudaStream_t stream, TileType type, const ProductArgs& args, std::size_t first_row,
                std::size_t rows);
  TileType tile_type_of(const ProductArgs& args) const;

  struct DestroyBlas {
    void operator()(cublasHandle_t blas) const;
  };

  DeviceCuda& device_;
  std::unique_ptr<std::remove_pointer_t<cublasHandle_t>, DestroyBlas> blas_;
  cudaStream_t blas_stream_ = nullptr;  // that it works on, with the workspace that was lent
  Precision precision_ = Precision::kNormal;
  ScratchSizes sizes_;
  std::byte* weight_tile_ = nullptr;
  std::byte* activation_tile_ = nullptr;
  std::byte* blas_workspace_ = nullptr;
  AttentionStates states_;
};

}  // namespace sluice
