// Calls that copy and fill.
#include <cstring>
#include <string>
#include <vector>

#include "memory/error.h"
#include "memory/units.h"
#include "tests/cuda/runtime_state.h"

namespace fake = sluice::fake_cuda;
using fake::call;
using fake::Issue;
using fake::Lock;
using fake::Needs;
using fake::Region;
using fake::Runtime;
using sluice::print_bytes;

namespace {

enum class Place {
  kDevice,
  kPinned,
  kPageable,
  kBroken,  // freed, or only partly in a region
};

Place place_of(Runtime& runtime, const void* begin, std::size_t bytes) {
  const Region* const region = runtime.regions.find(begin, bytes);
  if (region == nullptr) return Place::kPageable;
  const auto first = reinterpret_cast<std::uintptr_t>(begin);
  const bool within = first >= region->begin && first + bytes <= region->end();
  if (!within || region->freed) return Place::kBroken;
  return region->kind == Region::Kind::kDevice ? Place::kDevice : Place::kPinned;
}

struct Copy {
  void* to;
  const void* from;
  std::size_t bytes;
  Place to_place;
  Place from_place;

  bool to_device() const { return to_place == Place::kDevice; }
  bool from_device() const { return from_place == Place::kDevice; }
  bool pageable() const { return to_place == Place::kPageable || from_place == Place::kPageable; }
  const char* name() const {
    if (to_device()) return from_device() ? "copy on device" : "copy to device";
    return from_device() ? "copy to host" : "copy on host";
  }
};

bool fits(const Copy& copy, cudaMemcpyKind kind) {
  switch (kind) {
    case cudaMemcpyHostToHost:
      return !copy.to_device() && !copy.from_device();
    case cudaMemcpyHostToDevice:
      return copy.to_device() && !copy.from_device();
    case cudaMemcpyDeviceToHost:
      return !copy.to_device() && copy.from_device();
    case cudaMemcpyDeviceToDevice:
      return copy.to_device() && copy.from_device();
    case cudaMemcpyDefault:
      return true;
  }
  return false;
}

cudaError_t refuse(Runtime& runtime, const Copy& copy, const CUstream_st& stream) {
  std::string reason = " isn't of the kind that it says";
  if (copy.to_place == Place::kBroken) {
    reason = " writes " + fake::fault(runtime, copy.to, copy.bytes);
  } else if (copy.from_place == Place::kBroken) {
    reason = " reads " + fake::fault(runtime, copy.from, copy.bytes);
  }
  runtime.complaints.add("copy|" + stream.name + reason, "copy on " + stream.name + reason);
  return cudaErrorInvalidValue;
}

// Puts the copy on the stream. Memory that isn't pinned is staged at once, as the driver does it.
cudaError_t put(Runtime& runtime, const Copy& copy, CUstream_st& stream) {
  Issue issue(runtime, stream, copy.name());
  const bool stages = copy.from_place == Place::kPageable;
  if (!stages) issue.touch(sluice::reads(copy.from, copy.bytes));
  if (copy.to_place != Place::kPageable) issue.touch(sluice::writes(copy.to, copy.bytes));
  if (!stages) {
    issue.give([copy] { std::memmove(copy.to, copy.from, copy.bytes); });
    return cudaSuccess;
  }
  const auto* const from = static_cast<const std::byte*>(copy.from);
  issue.give([copy, staged = std::vector<std::byte>(from, from + copy.bytes)] {
    std::memcpy(copy.to, staged.data(), copy.bytes);
  });
  return cudaSuccess;
}

struct Request {
  const char* call;
  void* to;
  const void* from;
  std::size_t bytes;
  cudaMemcpyKind kind;
  bool async;
};

cudaError_t copy_memory(const Request& request, cudaStream_t handle) {
  return call(request.call, Needs::kContext, [&](Runtime& runtime, Lock& lock) {
    CUstream_st* const stream = runtime.stream(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    if (request.bytes == 0) return cudaSuccess;
    if (request.to == nullptr || request.from == nullptr) return cudaErrorInvalidValue;
    if (request.kind < cudaMemcpyHostToHost || request.kind > cudaMemcpyDefault) {
      return cudaErrorInvalidMemcpyDirection;
    }
    const Copy copy = {request.to, request.from, request.bytes,
                       place_of(runtime, request.to, request.bytes),
                       place_of(runtime, request.from, request.bytes)};
    const bool broken = copy.to_place == Place::kBroken || copy.from_place == Place::kBroken;
    if (broken || !fits(copy, request.kind)) return refuse(runtime, copy, *stream);
    if (request.async && copy.pageable() && !runtime.machine.allow_pageable) {
      runtime.complaints.add(
          sluice::text("pageable|", copy.name()),
          sluice::text(copy.name(), " on ", stream->name, " of ", print_bytes(copy.bytes),
                       ": async copy from memory that isn't pinned"));
    }
    // A plain copy begins when its stream has come to rest.
    if (!request.async) {
      fake::synchronize(runtime, lock, *stream);
      lock.lock();
    }
    const cudaError_t answer = put(runtime, copy, *stream);
    // From memory that isn't pinned the host waits for the staging only, and between two places on
    // the device not at all.
    const bool host_waits = copy.to_place == Place::kPageable ||
                            (!request.async && copy.from_place == Place::kPinned) ||
                            (!request.async && copy.to_place == Place::kPinned);
    if (host_waits) fake::synchronize(runtime, lock, *stream);
    return answer;
  });
}

cudaError_t fill_memory(const char* name, void* memory, int value, std::size_t bytes,
                        cudaStream_t handle) {
  return call(name, Needs::kContext, [&](Runtime& runtime, Lock&) {
    CUstream_st* const stream = runtime.stream(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    if (bytes == 0) return cudaSuccess;
    Issue issue(runtime, *stream, "memset");
    if (!issue.touch(sluice::writes(memory, bytes))) return cudaErrorInvalidValue;
    issue.give([=] { std::memset(memory, value, bytes); });
    return cudaSuccess;
  });
}

}  // namespace

extern "C" {

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  return copy_memory({"cudaMemcpy", to, from, bytes, kind, false}, nullptr);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return copy_memory({"cudaMemcpyAsync", to, from, bytes, kind, true}, stream);
}

cudaError_t cudaMemset(void* memory, int value, std::size_t bytes) {
  return fill_memory("cudaMemset", memory, value, bytes, nullptr);
}

cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
  return fill_memory("cudaMemsetAsync", memory, value, bytes, stream);
}

}  // extern "C"
