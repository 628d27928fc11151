// The operations on rows beside products: each is read once and written once.
#include "layers/cuda/kernels.h"
#include "layers/cuda/reduce.cuh"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpThreads;
static_assert(kActivationGroup == kWarpThreads);

// ---- Activations: a warp brings 32 columns, a value a lane, into every form that is wanted.

// As the CPU's Converter has it: groups all below are zeros, non-finite values make NaN.
template <typename Group>
__device__ void store_group(Group* group, float value) {
  constexpr bool kWide = sizeof(Group) == sizeof(Int16Group);
  constexpr float kLargest = kWide ? 127.0f * 128 + 63 : 127.0f;
  const int lane = static_cast<int>(threadIdx.x % kWarpThreads);
  // Magnitudes compare as their bits do, NaN above all.
  const unsigned largest_bits = warp_max(__float_as_uint(value) & 0x7fffffffu);
  const float largest = __uint_as_float(largest_bits);
  float scale = 0.0f;
  float inverse = 0.0f;
  if (largest_bits >= 0x7f800000u) {
    scale = __uint_as_float(0x7fc00000u);
  } else if (largest >= 1e-30f) {
    scale = largest / kLargest;
    inverse = kLargest / largest;
  }
  const int q = largest_bits >= 0x7f800000u ? 0 : __float2int_rn(value * inverse);
  if constexpr (kWide) {
    const int high = (q + 64) >> 7;
    group->high[lane] = static_cast<std::int8_t>(high);
    group->low[lane] = static_cast<std::int8_t>(q - (high << 7));
  } else {
    group->high[lane] = static_cast<std::int8_t>(q);
  }
  const int half_sum = warp_sum(q, 16);
  const int other_sum = __shfl_xor_sync(kWholeWarp, half_sum, 16);
  if (lane != 0) return;
  group->scale = scale;
  group->minus_half_sums[0] = -half_sum;
  group->minus_half_sums[1] = -other_sum;
  group->minus_sum = -half_sum - other_sum;
}

// `value` is column `column` of `token`; columns past the end are passed as zeros. The whole warp
// takes part.
__device__ void store_activation(const Activations& out, std::size_t token, std::size_t columns,
                                 std::size_t column, float value) {
  const auto row = [&](ActivationForm form) { return out.row(form, token, columns); };
  if (out.wants(ActivationForm::kF32) && column < columns) {
    reinterpret_cast<float*>(row(ActivationForm::kF32))[column] = value;
  }
  if (out.wants(ActivationForm::kBf16) && column < columns) {
    reinterpret_cast<__nv_bfloat16*>(row(ActivationForm::kBf16))[column] = __float2bfloat16(value);
  }
  const std::size_t group = column / kActivationGroup;
  if (out.wants(ActivationForm::kInt8)) {
    store_group(reinterpret_cast<Int8Group*>(row(ActivationForm::kInt8)) + group, value);
  }
  if (out.wants(ActivationForm::kInt16)) {
    store_group(reinterpret_cast<Int16Group*>(row(ActivationForm::kInt16)) + group, value);
  }
}

// ---- Kernels.

__global__ void __launch_bounds__(kThreads) norm(NormArgs a) {
  const std::size_t token = blockIdx.x;
  const std::size_t row = a.rows == nullptr ? token : static_cast<std::size_t>(a.rows[token]);
  const float* in = a.in + row * a.columns;
  float squares = 0.0f;
  for (std::size_t c = threadIdx.x; c < a.columns; c += kThreads) {
    squares = fmaf(in[c], in[c], squares);
  }
  squares = block_sum<kWarps>(squares);
  const float scale = 1.0f / sqrtf(squares / static_cast<float>(a.columns) + a.epsilon);
  const std::size_t end = align_up(a.columns, kActivationGroup);
  for (std::size_t c = threadIdx.x; c < end; c += kThreads) {
    const float value = c < a.columns ? in[c] * scale * a.weight[c] : 0.0f;
    store_activation(a.out, token, a.columns, c, value);
  }
}

// Blocks [tokens][columns / kThreads].
__global__ void __launch_bounds__(kThreads) swiglu(SwiGluArgs a) {
  const std::size_t token = blockIdx.x;
  const std::size_t c = std::size_t{blockIdx.y} * kThreads + threadIdx.x;
  if (c >= align_up(a.columns, kActivationGroup)) return;  // whole warps
  float value = 0.0f;
  if (c < a.columns) {
    const float* row = a.gate_up + token * 2 * a.columns;
    const float gate = row[c] + (a.gate_bias == nullptr ? 0.0f : a.gate_bias[c]);
    const float up = row[a.columns + c] + (a.up_bias == nullptr ? 0.0f : a.up_bias[c]);
    value = gate / (1.0f + __expf(-gate)) * up;
  }
  store_activation(a.out, token, a.columns, c, value);
}

__global__ void __launch_bounds__(kThreads) convert(Activations out, std::size_t columns) {
  const std::size_t token = blockIdx.x;
  const std::size_t c = std::size_t{blockIdx.y} * kThreads + threadIdx.x;
  if (c >= align_up(columns, kActivationGroup)) return;
  const auto* in = reinterpret_cast<const float*>(out.row(ActivationForm::kF32, token, columns));
  const float value = c < columns ? in[c] : 0.0f;
  out.forms[static_cast<std::size_t>(ActivationForm::kF32)] = nullptr;
  store_activation(out, token, columns, c, value);
}

__global__ void __launch_bounds__(kThreads) add_bias(BiasArgs a) {
  float* row = a.io + blockIdx.x * a.columns;
  for (std::size_t c = threadIdx.x; c < a.columns; c += kThreads) row[c] += a.bias[c];
}

// ---- What they touch.

void add_forms(Touches& touches, const Activations& out, std::size_t tokens, std::size_t columns) {
  for (std::size_t i = 0; i < kActivationForms; ++i) {
    const auto form = static_cast<ActivationForm>(i);
    if (!out.wants(form)) continue;
    touches.add(writes(out.forms[i], tokens * activation_row_bytes(form, columns)));
  }
}

Touch reads_floats(const float* begin, std::size_t count) {
  return reads(begin, count * sizeof(float));
}

// A block a token, or for each kThreads of its columns.
LaunchShape rows_shape(std::size_t tokens, std::size_t columns = 1) {
  return {dim3(static_cast<unsigned>(tokens), static_cast<unsigned>(ceil_div(columns, kThreads))),
          dim3(kThreads)};
}

}  // namespace

void norm_rows(cudaStream_t stream, const NormArgs& args) {
  // Which rows of `in` are read is known on the device alone: the first is, where it is one.
  Touches touches{reads_floats(args.in, (args.rows == nullptr ? args.tokens : 1) * args.columns),
                  reads(args.rows, args.tokens * sizeof(std::int32_t)),
                  reads_floats(args.weight, args.columns)};
  add_forms(touches, args.out, args.tokens, args.columns);
  launch("norm", stream, rows_shape(args.tokens), touches, norm, args);
}

void swiglu_rows(cudaStream_t stream, const SwiGluArgs& args) {
  Touches touches{reads_floats(args.gate_up, args.tokens * 2 * args.columns),
                  reads_floats(args.gate_bias, args.columns),
                  reads_floats(args.up_bias, args.columns)};
  add_forms(touches, args.out, args.tokens, args.columns);
  launch("swiglu", stream, rows_shape(args.tokens, args.columns), touches, swiglu, args);
}

void convert_rows(cudaStream_t stream, const Activations& out, std::size_t tokens,
                  std::size_t columns) {
  Touches touches{};
  add_forms(touches, out, tokens, columns);
  launch("convert", stream, rows_shape(tokens, columns), touches, convert, out, columns);
}

void add_bias_rows(cudaStream_t stream, const BiasArgs& args) {
  const Touches touches{writes(args.io, args.tokens * args.columns * sizeof(float)),
                        reads_floats(args.bias, args.columns)};
  launch("add bias", stream, rows_shape(args.tokens), touches, add_bias, args);
}

}  // namespace sluice
