#include "layers/cuda/few_tokens.cuh"
#include "memory/quantised_types.h"

namespace sluice {

void few_tokens_int8(DType type, cudaStream_t stream, const FewTokensBatch& batch,
                     std::span<const Touch> touches) {
  with_quantised(type, [&]<DType kType>() {
    launch_few_tokens<QuantisedSlice<kType, Int8Group>, 1, 2, 4, 8, 16>("product of few tokens",
                                                                        stream, batch, touches);
  });
}

}  // namespace sluice
