// Streams, events and memory that go with their scope, for tests of the stand-in.
#pragma once

#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "tests/cuda/runtime.h"

namespace sluice::fake_cuda {

class TestStream {
 public:
  explicit TestStream(const std::string& name = {}) {
    REQUIRE(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking) == cudaSuccess);
    if (!name.empty()) name_stream(stream_, name);
  }
  ~TestStream() { (void)cudaStreamDestroy(stream_); }
  TestStream(const TestStream&) = delete;
  TestStream& operator=(const TestStream&) = delete;
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class TestEvent {
 public:
  explicit TestEvent(unsigned int flags = cudaEventDisableTiming) {
    REQUIRE(cudaEventCreateWithFlags(&event_, flags) == cudaSuccess);
  }
  ~TestEvent() { (void)cudaEventDestroy(event_); }
  TestEvent(const TestEvent&) = delete;
  TestEvent& operator=(const TestEvent&) = delete;
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

enum class Where { kDevice, kPinned };

// `count` of T. Freed when all streams have done their work.
template <typename T>
class TestArray {
 public:
  TestArray(Where where, std::size_t count) : where_(where), count_(count) {
    void* memory = nullptr;
    const cudaError_t answer =
        where == Where::kDevice ? cudaMalloc(&memory, bytes()) : cudaHostAlloc(&memory, bytes(), 0);
    REQUIRE(answer == cudaSuccess);
    data_ = static_cast<T*>(memory);
  }
  ~TestArray() {
    if (data_ == nullptr) return;
    (void)cudaDeviceSynchronize();
    free();
  }
  TestArray(const TestArray&) = delete;
  TestArray& operator=(const TestArray&) = delete;

  void free() {
    (void)(where_ == Where::kDevice ? cudaFree(data_) : cudaFreeHost(data_));
    data_ = nullptr;
  }
  T* data() const { return data_; }
  std::size_t count() const { return count_; }
  std::size_t bytes() const { return count_ * sizeof(T); }

 private:
  Where where_;
  std::size_t count_;
  T* data_ = nullptr;
};

// A kernel that does nothing, but says that it touches memory.
inline void touching_kernel(cudaStream_t stream, const char* name,
                            std::initializer_list<Touch> touches) {
  enqueue_kernel(
      stream, name, [] {}, std::vector<Touch>(touches));
}

inline void check_silent() {
  for (const std::string& line : complaints()) FAIL_CHECK(line);
}

// There is one complaint, and it has all of these parts.
inline void check_complaint(std::initializer_list<std::string_view> parts) {
  const std::vector<std::string> lines = complaints();
  REQUIRE(lines.size() == 1);
  CAPTURE(lines.front());
  for (const std::string_view part : parts) {
    CAPTURE(part);
    CHECK(lines.front().find(part) != std::string::npos);
  }
}

}  // namespace sluice::fake_cuda
