#include "memory/dtype.h"

#include "memory/error.h"

namespace sluice {

namespace {
// Numbers and group sizes as the GGUF specification gives them.
constexpr std::array<DTypeInfo, kDTypeCount> kTypes = {{
    {"F32", 0, 1, 4},
    {"F16", 1, 1, 2},
    {"BF16", 30, 1, 2},
    {"Q4_0", 2, 32, 18},
    {"Q4_1", 3, 32, 20},
    {"Q5_0", 6, 32, 22},
    {"Q5_1", 7, 32, 24},
    {"Q8_0", 8, 32, 34},
    {"Q2_K", 10, 256, 84},
    {"Q3_K", 11, 256, 110},
    {"Q4_K", 12, 256, 144},
    {"Q5_K", 13, 256, 176},
    {"Q6_K", 14, 256, 210},
}};
}  // namespace

const DTypeInfo& dtype_info(DType type) {
  return kTypes[static_cast<std::size_t>(type)];
}

std::optional<DType> dtype_from_gguf(std::uint32_t gguf_id) {
  for (DType type : kAllDTypes) {
    if (dtype_info(type).gguf_id == gguf_id) return type;
  }
  return std::nullopt;
}

std::size_t row_bytes(DType type, std::size_t columns) {
  const DTypeInfo& info = dtype_info(type);
  if (columns % info.group_values != 0) {
    throw Error(ErrorKind::kInternal, text(info.name, " rows come in groups of ", info.group_values,
                                           ", not ", columns, " columns"));
  }
  return columns / info.group_values * info.group_bytes;
}

}  // namespace sluice
