// Operations that nothing orders are complained of; those in order aren't.
#include <doctest/doctest.h>

#include <array>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "tests/cuda/handles.h"

namespace sluice::fake_cuda {
namespace {

constexpr std::size_t kCount = 1024;
using Ints = TestArray<int>;

void copy_in(const Ints& to, const Ints& from, cudaStream_t stream) {
  CHECK(cudaMemcpyAsync(to.data(), from.data(), to.bytes(), cudaMemcpyHostToDevice, stream) ==
        cudaSuccess);
}

TEST_CASE("cuda stand-in: one stream's operations are in order") {
  reset();
  const TestStream stream;
  const Ints host(Where::kPinned, kCount);
  const Ints device(Where::kDevice, kCount);
  copy_in(device, host, stream);
  touching_kernel(stream, "first", {writes(device.data(), device.bytes())});
  touching_kernel(stream, "second", {reads(device.data(), device.bytes())});
  CHECK(cudaMemsetAsync(device.data(), 0, device.bytes(), stream) == cudaSuccess);
  check_silent();
}

TEST_CASE("cuda stand-in: two streams' writes of one range need an event between") {
  for (const bool ordered : {true, false}) {
    CAPTURE(ordered);
    reset();
    const TestStream first("the copies");
    const TestStream second("the compute");
    const TestEvent event;
    const Ints host(Where::kPinned, kCount);
    const Ints device(Where::kDevice, kCount);
    copy_in(device, host, first);
    CHECK(cudaEventRecord(event, first) == cudaSuccess);
    if (ordered) CHECK(cudaStreamWaitEvent(second, event, 0) == cudaSuccess);
    touching_kernel(second, "fill", {writes(device.data() + 1, 8)});
    if (ordered) {
      check_silent();
    } else {
      check_complaint({"kernel fill on the compute writes bytes 4..12 of device allocation 2 ",
                       "(4.00 KiB), which copy to device on the copies may still be writing",
                       ": nothing orders the two"});
    }
  }
}

TEST_CASE("cuda stand-in: a slot refilled while it is still read is named with both operations") {
  reset();
  const TestStream copies("the copies");
  const TestStream compute("the compute");
  const TestEvent filled;
  const Ints host(Where::kPinned, kCount);
  const Ints slot(Where::kDevice, kCount);
  copy_in(slot, host, copies);
  CHECK(cudaEventRecord(filled, copies) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(compute, filled, 0) == cudaSuccess);
  touching_kernel(compute, "matvec", {reads(slot.data(), slot.bytes())});
  check_silent();
  copy_in(slot, host, copies);
  check_complaint({"copy to device on the copies writes bytes 0..4096 of device allocation 2",
                   "which kernel matvec on the compute may still be reading"});
}

TEST_CASE("cuda stand-in: a read before the copy is there is complained of, once") {
  reset();
  const TestStream copies;
  const TestStream compute;
  const Ints host(Where::kPinned, kCount);
  const Ints device(Where::kDevice, kCount);
  for (int i = 0; i < 3; ++i) {
    copy_in(device, host, copies);
    touching_kernel(compute, "matvec", {reads(device.data(), device.bytes())});
    CHECK(cudaDeviceSynchronize() == cudaSuccess);
  }
  check_complaint({"kernel matvec on stream 2 reads", "copy to device on stream 1"});
}

TEST_CASE("cuda stand-in: a wait is for the recording that was the last when it was called") {
  reset();
  const TestStream copies;
  const TestStream compute;
  const TestEvent event;
  const Ints host(Where::kPinned, kCount);
  const Ints device(Where::kDevice, kCount);
  CHECK(cudaStreamWaitEvent(compute, event, 0) == cudaSuccess);  // never recorded: nothing
  CHECK(cudaEventRecord(event, copies) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(compute, event, 0) == cudaSuccess);
  copy_in(device, host, copies);
  CHECK(cudaEventRecord(event, copies) == cudaSuccess);
  touching_kernel(compute, "matvec", {reads(device.data(), 4)});
  check_complaint({"kernel matvec on stream 2 reads bytes 0..4"});
}

TEST_CASE("cuda stand-in: order is passed on from stream to stream, and by the host") {
  reset();
  const TestStream first;
  const TestStream second;
  const TestStream third;
  const TestEvent event;
  const Ints device(Where::kDevice, kCount);
  touching_kernel(first, "first", {writes(device.data(), device.bytes())});
  CHECK(cudaEventRecord(event, first) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(second, event, 0) == cudaSuccess);
  CHECK(cudaEventRecord(event, second) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(third, event, 0) == cudaSuccess);
  touching_kernel(third, "third", {writes(device.data(), device.bytes())});
  CHECK(cudaStreamSynchronize(third) == cudaSuccess);
  touching_kernel(first, "again", {writes(device.data(), device.bytes())});
  CHECK(cudaEventRecord(event, first) == cudaSuccess);
  CHECK(cudaEventSynchronize(event) == cudaSuccess);
  touching_kernel(second, "last", {writes(device.data(), device.bytes())});
  check_silent();
}

TEST_CASE("cuda stand-in: two streams may read one range, and write two") {
  reset();
  const TestStream first;
  const TestStream second;
  const Ints device(Where::kDevice, kCount);
  touching_kernel(first, "a", {reads(device.data(), device.bytes())});
  touching_kernel(second, "b", {reads(device.data(), device.bytes())});
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  touching_kernel(first, "c", {writes(device.data(), 16)});
  touching_kernel(second, "d", {writes(device.data() + 4, 16)});
  check_silent();
}

TEST_CASE("cuda stand-in: the default stream and blocking streams take turns") {
  reset();
  cudaStream_t blocking = nullptr;
  REQUIRE(cudaStreamCreateWithFlags(&blocking, cudaStreamDefault) == cudaSuccess);
  const TestStream other("the other");
  const Ints device(Where::kDevice, kCount);
  touching_kernel(blocking, "a", {writes(device.data(), 16)});
  CHECK(cudaMemset(device.data(), 0, 16) == cudaSuccess);
  touching_kernel(blocking, "b", {writes(device.data(), 16)});
  check_silent();
  CHECK(cudaStreamSynchronize(blocking) == cudaSuccess);
  CHECK(cudaMemset(device.data(), 0, 16) == cudaSuccess);
  touching_kernel(other, "c", {writes(device.data(), 16)});
  check_complaint({"kernel c on the other writes", "memset on the default stream"});
  CHECK(cudaStreamDestroy(blocking) == cudaSuccess);
}

TEST_CASE("cuda stand-in: the CPU's own use of pinned memory waits for the copies") {
  reset();
  const TestStream stream;
  const Ints host(Where::kPinned, kCount);
  const Ints device(Where::kDevice, kCount);
  host_writes(host.data(), host.bytes());
  copy_in(device, host, stream);
  host_reads(host.data(), host.bytes());  // both only read
  check_silent();
  host_writes(host.data() + 2, 4);
  check_complaint({"use on the host writes bytes 8..12 of pinned allocation 1",
                   "copy to device on stream 1 may still be reading"});
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  host_writes(host.data(), host.bytes());
  CHECK(complaints().size() == 1);
}

// Rows go through `slots` device slots, each read by the compute stream; the host gets their sums.
std::vector<int> sums_through_ring(std::size_t slots, std::size_t rows) {
  const TestStream copies("the copies");
  const TestStream compute("the compute");
  const Ints host(Where::kPinned, rows * kCount);
  const Ints ring(Where::kDevice, slots * kCount);
  const Ints sums(Where::kDevice, rows);
  const Ints result(Where::kPinned, rows);
  std::iota(host.data(), host.data() + host.count(), 0);
  host_writes(host.data(), host.bytes());
  std::vector<TestEvent> filled(slots);
  std::vector<TestEvent> emptied(slots);
  for (std::size_t row = 0; row < rows; ++row) {
    const std::size_t slot = row % slots;
    int* const in = ring.data() + slot * kCount;
    int* const out = sums.data() + row;
    CHECK(cudaStreamWaitEvent(copies, emptied[slot], 0) == cudaSuccess);
    CHECK(cudaMemcpyAsync(in, host.data() + row * kCount, kCount * sizeof(int),
                          cudaMemcpyHostToDevice, copies) == cudaSuccess);
    CHECK(cudaEventRecord(filled[slot], copies) == cudaSuccess);
    CHECK(cudaStreamWaitEvent(compute, filled[slot], 0) == cudaSuccess);
    const std::array touches = {reads(in, kCount * sizeof(int)), writes(out, sizeof(int))};
    enqueue_kernel(
        compute, "sum", [=] { *out = std::accumulate(in, in + kCount, 0); }, touches);
    CHECK(cudaEventRecord(emptied[slot], compute) == cudaSuccess);
  }
  CHECK(cudaMemcpyAsync(result.data(), sums.data(), sums.bytes(), cudaMemcpyDeviceToHost,
                        compute) == cudaSuccess);
  CHECK(cudaStreamSynchronize(compute) == cudaSuccess);
  host_reads(result.data(), result.bytes());
  return {result.data(), result.data() + rows};
}

TEST_CASE(
    "cuda stand-in: however its streams dawdle, a ring of slots gives the same and is silent") {
  reset();
  const std::vector<int> expected = sums_through_ring(2, 12);
  CHECK(expected[1] - expected[0] == static_cast<int>(kCount * kCount));
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    CAPTURE(seed);
    reset({.seed = seed});
    CHECK(sums_through_ring(1 + seed % 3, 12) == expected);
    check_silent();
    CHECK(complaints_at_exit().empty());
  }
}

TEST_CASE("cuda stand-in: several host threads may use it at once") {
  reset({.seed = 3});
  std::vector<std::thread> threads;
  std::vector<int> sums(4);
  for (std::size_t thread = 0; thread < sums.size(); ++thread) {
    threads.emplace_back([&sums, thread] {
      for (int round = 0; round < 5; ++round) {
        sums[thread] = sums_through_ring(2, 4 + thread).back();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  check_silent();
  CHECK(complaints_at_exit().empty());
  for (std::size_t thread = 0; thread + 1 < sums.size(); ++thread) {
    CHECK(sums[thread + 1] - sums[thread] == static_cast<int>(kCount * kCount));
  }
}

}  // namespace
}  // namespace sluice::fake_cuda
