#include "layers/products.h"

#include <algorithm>
#include <cassert>

#include "layers/isa.h"
#include "layers/products_isa.h"
#include "memory/parallel.h"
#include "memory/units.h"

namespace sluice {

namespace {

const ProductKernels& product_kernels() {
  switch (isa()) {
    case Isa::kAvx512Bf16:
      return kProductsAvx512Bf16;
    case Isa::kAvx512:
      return kProductsAvx512;
    case Isa::kAvxVnni:
      return kProductsAvxVnni;
    case Isa::kAvx2:
      return kProductsAvx2;
    case Isa::kBaseline:
      break;
  }
  return kProductsBaseline;
}

// A piece of work worth handing to another thread, in the time of the kernels: waking one costs
// microseconds.
constexpr double kPieceSeconds = 5e-6;
constexpr double kBytesPerSecond = 40e9;      // that one thread reads
constexpr double kProductsPerSecond = 250e9;  // that one thread multiplies and adds

// Tokens that meet a panel before the next is read: their activations stay in cache, and the panel
// is used often enough for memory to keep up.
std::size_t tokens_at_once(DType type) {
  return is_quantised(type) ? 64 : 96;
}

// Kernels take panels two at a time, so work is cut between pairs.
constexpr std::size_t kPairRows = 2 * kPanelRows;

double pair_seconds(const ProductArgs& args, std::size_t tokens) {
  const auto bytes = static_cast<double>(2 * panel_bytes(args.type, args.columns));
  const auto products = static_cast<double>(kPairRows * args.columns * tokens);
  return std::max(bytes / kBytesPerSecond, products / kProductsPerSecond);
}

ProductArgs some_tokens(const ProductArgs& args, std::size_t first, std::size_t last) {
  ProductArgs some = args;
  some.tokens = last - first;
  some.out += first * args.out_stride;
  some.in += first * activation_row_bytes(args.form, args.columns);
  return some;
}

// A product as a count of pairs of panels, each to meet a block of tokens: those of the first
// block, then those of the next.
struct Work {
  explicit Work(const ProductArgs& product)
      : args(product),
        pairs(ceil_div(args.rows, kPairRows)),
        block_tokens(std::max<std::size_t>(std::min(args.tokens, tokens_at_once(args.type)), 1)) {}

  std::size_t count() const { return pairs * ceil_div(args.tokens, block_tokens); }

  void run(const ProductKernels& kernels, std::size_t begin, std::size_t end) const {
    const std::size_t panels = ceil_div(args.rows, kPanelRows);
    while (begin < end) {
      const std::size_t first = begin % pairs;
      const std::size_t last = std::min(pairs, first + (end - begin));
      const std::size_t token = begin / pairs * block_tokens;
      kernels.panels(some_tokens(args, token, std::min(args.tokens, token + block_tokens)),
                     2 * first, std::min(2 * last, panels));
      begin += last - first;
    }
  }

  const ProductArgs& args;
  std::size_t pairs;
  std::size_t block_tokens;
};

}  // namespace

ActivationForm activation_form(DType weights, Precision precision) {
  const bool high = precision == Precision::kHigh;
  if (is_quantised(weights)) return high ? ActivationForm::kInt16 : ActivationForm::kInt8;
  return weights == DType::kBF16 && !high ? ActivationForm::kBf16 : ActivationForm::kF32;
}

void convert_activations(ActivationForm form, const float* in, std::size_t columns,
                         std::byte* out) {
  assert(form == ActivationForm::kBf16 || columns % kActivationGroup == 0);
  product_kernels().convert(form, in, columns, out);
}

void product(const ProductArgs& args) {
  products({&args, 1});
}

void products(std::span<const ProductArgs> all) {
  const ProductKernels& kernels = product_kernels();
  std::size_t count = 0;
  double seconds = 0.0;
  for (const ProductArgs& args : all) {
    assert(args.in != nullptr);
    const Work work(args);
    count += work.count();
    seconds += static_cast<double>(work.count()) * pair_seconds(args, work.block_tokens);
  }
  if (count == 0) return;
  const auto grain =
      static_cast<std::size_t>(kPieceSeconds * static_cast<double>(count) / seconds) + 1;
  // One index counts the work of the first product, then that of the next.
  parallel_for(count, grain, [&](std::size_t begin, std::size_t end) {
    for (const ProductArgs& args : all) {
      const Work work(args);
      if (begin < work.count()) work.run(kernels, begin, std::min(end, work.count()));
      if (end <= work.count()) return;
      begin -= std::min(begin, work.count());
      end -= work.count();
    }
  });
}

ProductPeaks product_peaks() {
  return product_kernels().peaks();
}

}  // namespace sluice
