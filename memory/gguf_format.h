// Numbers of the GGUF specification that reading and writing share.
#pragma once

#include <cstdint>

namespace sluice::gguf {

enum ValueType : std::uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
  kValueTypeCount,
};

}  // namespace sluice::gguf
