#include "layers/cuda/few_tokens.cuh"
#include "layers/cuda/some_tokens.cuh"
#include "memory/quantised_types.h"

namespace sluice {

void few_tokens_int16(DType type, cudaStream_t stream, const FewTokensBatch& batch,
                      std::span<const Touch> touches) {
  with_quantised(type, [&]<DType kType>() {
    if (batch.tokens > 8) return launch_some_tokens<kType, Int16Group, 2>(stream, batch, touches);
    if (batch.tokens > 1) return launch_some_tokens<kType, Int16Group, 1>(stream, batch, touches);
    launch_few_tokens<QuantisedSlice<kType, Int16Group>, 1>("product of few tokens", stream, batch,
                                                            touches);
  });
}

}  // namespace sluice
