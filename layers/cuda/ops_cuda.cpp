#include "layers/cuda/ops_cuda.h"

#include <algorithm>
#include <cassert>

#include "layers/cuda/cublas_library.h"
#include "memory/error.h"
#include "memory/packed.h"
#include "memory/units.h"

namespace sluice {
namespace {

// Compute capability from which the tensor cores know BF16.
constexpr int kFirstWithBf16 = 80;

cudaStream_t cuda(Stream& stream) {
  return static_cast<CudaStream&>(stream).handle();
}

cudaDataType data_type(TileType type) {
  switch (type) {
    case TileType::kF16:
      return CUDA_R_16F;
    case TileType::kBf16:
      return CUDA_R_16BF;
    case TileType::kF32:
      return CUDA_R_32F;
  }
  throw Error(ErrorKind::kInternal, "no such type of tile");
}

bool one_launch(const ProductArgs& a, const ProductArgs& b) {
  return a.type == b.type && a.form == b.form && a.tokens == b.tokens;
}

void run_few_tokens(cudaStream_t stream, const ProductArgs& kind, const FewTokensBatch& batch,
                    const Touches& touches) {
  switch (kind.form) {
    case ActivationForm::kInt8:
      return few_tokens_int8(kind.type, stream, batch, touches);
    case ActivationForm::kInt16:
      return few_tokens_int16(kind.type, stream, batch, touches);
    default:
      return few_tokens_floats(kind.type, kind.form, stream, batch, touches);
  }
}

}  // namespace

OpsCuda::OpsCuda(DeviceCuda& device) : device_(device) {
  const CublasLibrary& library = cublas_library();
  device.count_overhead([&] {
    cublasHandle_t blas = nullptr;
    check_cublas(library.create(&blas), "starting cuBLAS");
    blas_.reset(blas);
  });
  // A sum of halves is kept in f32 all the way.
  const auto mode = static_cast<cublasMath_t>(CUBLAS_DEFAULT_MATH |
                                              CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION);
  check_cublas(library.set_math_mode(blas_.get(), mode), "setting cuBLAS up");
}

void OpsCuda::DestroyBlas::operator()(cublasHandle_t blas) const {
  cublas_library().destroy(blas);
}

void OpsCuda::use_scratch(std::byte* begin, const ScratchSizes& sizes, Precision precision) {
  precision_ = precision;
  sizes_ = sizes;
  weight_tile_ = begin;
  activation_tile_ = weight_tile_ + align_up(sizes.weight_tile_bytes);
  blas_workspace_ = activation_tile_ + align_up(sizes.activation_tile_bytes);
  std::byte* states = blas_workspace_ + align_up(sizes.blas_bytes);
  states_ = {reinterpret_cast<float*>(states), sizes.state_rows};
  blas_stream_ = nullptr;
}

void OpsCuda::norm(Stream& stream, const NormArgs& args) {
  norm_rows(cuda(stream), args);
}

void OpsCuda::rotate(Stream& stream, const RotateArgs& args) {
  rotate_rows(cuda(stream), args);
}

void OpsCuda::attend(Stream& stream, const AttentionArgs& args) {
  attend_pages(cuda(stream), args, states_, device_.processors(), precision_ == Precision::kNormal);
  for (std::size_t i = 0; i < kActivationForms; ++i) {
    const auto form = static_cast<ActivationForm>(i);
    if (form == ActivationForm::kF32 || !args.out.wants(form)) continue;
    return convert_rows(cuda(stream), args.out, args.tokens, args.heads * args.kv.layout.head_dim);
  }
}

void OpsCuda::swiglu(Stream& stream, const SwiGluArgs& args) {
  swiglu_rows(cuda(stream), args);
}

void OpsCuda::add_bias(Stream& stream, const BiasArgs& args) {
  add_bias_rows(cuda(stream), args);
}

void OpsCuda::summarise(Stream& stream, const SummariseArgs& args) {
  summarise_rows(cuda(stream), args);
}

void OpsCuda::product(Stream& stream, const ProductBatch& batch) {
  if (batch.products[0].tokens <= kFewTokens) return few_tokens(cuda(stream), batch);
  for (std::size_t i = 0; i < batch.count; ++i) {
    const ProductArgs& args = batch.products[i];
    const bool same_input = i > 0 && batch.products[i - 1].in == args.in &&
                            batch.products[i - 1].columns == args.columns &&
                            tile_type_of(batch.products[i - 1]) == tile_type_of(args);
    many_tokens(cuda(stream), args, same_input);
  }
}

// Products of one kind go together, whatever their order.
void OpsCuda::few_tokens(cudaStream_t stream, const ProductBatch& batch) const {
  std::array<bool, ProductBatch::kMost> done{};
  for (std::size_t i = 0; i < batch.count; ++i) {
    if (done[i]) continue;
    const ProductArgs& kind = batch.products[i];
    FewTokensBatch together{};
    together.tokens = static_cast<unsigned>(kind.tokens);
    Touches touches{};
    unsigned panels = 0;
    for (std::size_t j = i; j < batch.count; ++j) {
      const ProductArgs& args = batch.products[j];
      if (done[j] || !one_launch(kind, args)) continue;
      done[j] = true;
      const std::size_t bytes = panel_bytes(args.type, args.columns);
      const std::size_t in_bytes = activation_row_bytes(args.form, args.columns);
      together.products[together.count] = {args.panels,  bytes,           args.rows,
                                           args.columns, args.in,         in_bytes,
                                           args.out,     args.out_stride, args.accumulate};
      together.first_panel[together.count++] = panels;
      const std::size_t count = ceil_div(args.rows, kPanelRows);
      panels += static_cast<unsigned>(count);
      touches.add(reads(args.panels, count * bytes));
      touches.add(reads(args.in, args.tokens * in_bytes));
      touches.add(
          writes(args.out, ((args.tokens - 1) * args.out_stride + args.rows) * sizeof(float)));
    }
    together.first_panel[together.count] = panels;
    run_few_tokens(stream, kind, together, touches);
  }
}

TileType OpsCuda::tile_type_of(const ProductArgs& args) const {
  const TileType type = tile_type(args.type, precision_);
  const bool bf16 = device_.compute_capability() >= kFirstWithBf16;
  return type == TileType::kBf16 && !bf16 ? TileType::kF16 : type;
}

void OpsCuda::many_tokens(cudaStream_t stream, const ProductArgs& args, bool same_input) {
  const TileType type = tile_type_of(args);
  assert(args.tokens * args.columns * tile_value_bytes(type) <= sizes_.activation_tile_bytes);
  if (!same_input) {
    tile_activations(stream, args.form, args.in, args.tokens, args.columns, type, activation_tile_);
  }
  const std::size_t row = args.columns * tile_value_bytes(type);
  const std::size_t rows_at_once = sizes_.weight_tile_bytes / (kPanelRows * row) * kPanelRows;
  assert(rows_at_once > 0);
  for (std::size_t first = 0; first < args.rows; first += rows_at_once) {
    const std::size_t rows = std::min(rows_at_once, args.rows - first);
    const std::byte* panels =
        args.panels + first / kPanelRows * panel_bytes(args.type, args.columns);
    tile_weights(stream, args.type, panels, rows, args.columns, type, weight_tile_);
    multiply(stream, type, args, first, rows);
  }
}

// In cuBLAS's eyes, which sees columns: out [rows, tokens] (+)= weights [columns, rows]^T *
// activations [columns, tokens].
void OpsCuda::multiply(cudaStream_t stream, TileType type, const ProductArgs& args,
                       std::size_t first_row, std::size_t rows) {
  const CublasLibrary& library = cublas_library();
  if (stream != blas_stream_) {
    check_cublas(library.set_stream(blas_.get(), stream), "a product");
    // Setting the stream takes the workspace away.
    check_cublas(library.set_workspace(blas_.get(), blas_workspace_, sizes_.blas_bytes),
                 "a product");
    blas_stream_ = stream;
  }
  const float alpha = type == TileType::kF16 ? kHalfTileScale : 1.0f;
  const float beta = args.accumulate ? 1.0f : 0.0f;
  const int columns = static_cast<int>(args.columns);
  const cublasComputeType_t compute =
      type == TileType::kF32 ? CUBLAS_COMPUTE_32F_PEDANTIC : CUBLAS_COMPUTE_32F;
  check_cublas(library.gemm_ex(blas_.get(), CUBLAS_OP_T, CUBLAS_OP_N, static_cast<int>(rows),
                               static_cast<int>(args.tokens), columns, &alpha, weight_tile_,
                               data_type(type), columns, activation_tile_, data_type(type), columns,
                               &beta, args.out + first_row, CUDA_R_32F,
                               static_cast<int>(args.out_stride), compute, CUBLAS_GEMM_DEFAULT),
               "a product");
}

}  // namespace sluice
