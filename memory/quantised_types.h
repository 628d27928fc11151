// From a type known at run time to code compiled for it.
#pragma once

#include "memory/dtype.h"
#include "memory/error.h"

namespace sluice {

// Calls body.operator()<kType>() for a quantised type.
template <typename Body>
void with_quantised(DType type, const Body& body) {
  switch (type) {
    case DType::kQ4_0:
      return body.template operator()<DType::kQ4_0>();
    case DType::kQ4_1:
      return body.template operator()<DType::kQ4_1>();
    case DType::kQ5_0:
      return body.template operator()<DType::kQ5_0>();
    case DType::kQ5_1:
      return body.template operator()<DType::kQ5_1>();
    case DType::kQ8_0:
      return body.template operator()<DType::kQ8_0>();
    case DType::kQ2_K:
      return body.template operator()<DType::kQ2_K>();
    case DType::kQ3_K:
      return body.template operator()<DType::kQ3_K>();
    case DType::kQ4_K:
      return body.template operator()<DType::kQ4_K>();
    case DType::kQ5_K:
      return body.template operator()<DType::kQ5_K>();
    case DType::kQ6_K:
      return body.template operator()<DType::kQ6_K>();
    default:
      throw Error(ErrorKind::kInternal, text(dtype_info(type).name, " is not quantised"));
  }
}

}  // namespace sluice
