#include "layers/cuda/few_tokens.cuh"

namespace sluice {

void few_tokens_floats(DType type, ActivationForm form, cudaStream_t stream,
                       const FewTokensBatch& batch, std::span<const Touch> touches) {
  const auto run = [&]<DType kType, ActivationForm kForm>() {
    launch_few_tokens<FloatSlice<kType, kForm>, 1, 4, 16>("product of few tokens", stream, batch,
                                                          touches);
  };
  if (type == DType::kF32) return run.operator()<DType::kF32, ActivationForm::kF32>();
  if (type == DType::kF16) return run.operator()<DType::kF16, ActivationForm::kF32>();
  if (form == ActivationForm::kF32) return run.operator()<DType::kBF16, ActivationForm::kF32>();
  run.operator()<DType::kBF16, ActivationForm::kBf16>();
}

}  // namespace sluice
