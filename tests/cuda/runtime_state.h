// All that the stand-in keeps between calls, and how a call gets at it.
#pragma once

#include <cuda_runtime_api.h>

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "tests/cuda/runtime.h"
#include "tests/cuda/runtime_clock.h"
#include "tests/cuda/runtime_queue.h"
#include "tests/cuda/runtime_regions.h"

namespace sluice::fake_cuda {

// A kernel with its arguments, to be put on a stream.
struct Launch {
  std::string name;
  std::vector<Touch> touches;
  std::function<void()> run;
};

}  // namespace sluice::fake_cuda

// What the handles point to. They stay until the next reset, so that a late use is found.
struct CUstream_st {
  std::string name;
  sluice::fake_cuda::Actor actor;
  bool blocking;  // ordered with the default stream
  std::unique_ptr<sluice::fake_cuda::Queue> queue;
  sluice::fake_cuda::Clock clock;
  bool alive = true;
  // While it is captured: kernels that were launched; and whether something else was called.
  std::optional<std::vector<sluice::fake_cuda::Launch>> captured = std::nullopt;
  bool capture_broken = false;
};

struct CUgraph_st {
  std::vector<sluice::fake_cuda::Launch> launches;
  bool alive = true;
};

struct CUgraphExec_st {
  std::vector<sluice::fake_cuda::Launch> launches;
  std::size_t bytes;
  bool alive = true;
};

namespace sluice::fake_cuda {

// One cudaEventRecord.
struct Recording {
  Queue* queue;
  std::uint64_t number;
  Clock clock;
  double seconds = 0.0;  // when it was reached; written by the queue
};

}  // namespace sluice::fake_cuda

struct CUevent_st {
  bool timing;
  std::shared_ptr<sluice::fake_cuda::Recording> recording = nullptr;  // the last
};

namespace sluice::fake_cuda {

// Lines, each once. Safe to use from any thread.
class Complaints {
 public:
  // Takes the line unless one with the same key is there.
  void add(const std::string& key, const std::string& line);
  std::vector<std::string> lines() const;
  void clear();

 private:
  mutable std::mutex mutex_;
  std::set<std::string> keys_;
  std::vector<std::string> lines_;
};

struct Failure {
  std::string call;
  cudaError_t error;
  std::size_t skip;
};

// What a call can't do without.
enum class Needs { kNothing, kDriver, kDevice, kContext };

struct Runtime {
  static Runtime& get();

  Runtime() { start({}); }
  ~Runtime() { stop(); }
  void start(const Machine& made_believe);
  void stop();  // after all work

  // What the call answers at once, cudaSuccess if it may go on.
  cudaError_t refusal(const char* name, Needs needs);
  // What every call answers, and cudaGetLastError too, for as long as the machine is as it is.
  cudaError_t standing_error() const;
  // Takes device memory, or answers that there is no more.
  bool take(std::size_t bytes);
  std::size_t free_bytes() const;

  // Null if it isn't one that can be used. That it is captured, and what was to be done can't be
  // taken down, is complained of.
  CUstream_st* stream(cudaStream_t handle);
  // Null if it isn't captured.
  CUstream_st* capturing(cudaStream_t handle);
  CUevent_st* event(cudaEvent_t handle) const;
  CUstream_st& add_stream(bool blocking);

  std::mutex mutex;  // everything's, but complaints'
  Machine machine;
  Clock host;
  Regions regions;
  std::deque<CUstream_st> streams;  // the first is the default stream; never moved
  std::deque<CUevent_st> events;
  std::unordered_set<const CUevent_st*> live_events;
  std::deque<CUgraph_st> graphs;
  std::deque<CUgraphExec_st> runnable_graphs;
  std::size_t graph_launches = 0;
  std::vector<Failure> failures;
  cudaError_t device_error = cudaSuccess;  // what lost the device; until cudaDeviceReset
  bool has_context = false;
  std::size_t used_bytes = 0;
  std::size_t peak_bytes = 0;
  std::size_t cublas_handles = 0;
  Complaints complaints;
};

using Lock = std::unique_lock<std::mutex>;

// Puts down what a call answered, for cudaGetLastError.
cudaError_t remember(cudaError_t answer);
// What cudaGetLastError and cudaPeekAtLastError answer.
cudaError_t last_error_of_thread(bool forget);

// Every call of the runtime: `body(runtime, lock)` answers it, unless something forbids it. A body
// that waits unlocks first.
template <typename Body>
cudaError_t call(const char* name, Needs needs, const Body& body) {
  Runtime& runtime = Runtime::get();
  if (on_a_queue()) {
    runtime.complaints.add(name, std::string(name) + " called by work on a stream");
    return cudaErrorNotPermitted;
  }
  Lock lock(runtime.mutex);
  cudaError_t answer = runtime.refusal(name, needs);
  if (answer == cudaSuccess) answer = body(runtime, lock);
  if (!lock.owns_lock()) lock.lock();
  return remember(answer);
}

// Something that is being put on a stream, checked as it is told.
class Issue {
 public:
  Issue(Runtime& runtime, CUstream_st& stream, std::string name);

  // Whether the memory is there. What is ordered wrongly is complained of and then really waited
  // for, so that a wrong program is still one that can be run to its end.
  bool touch(const Touch& touch);

  void give(std::function<void()> work);

 private:
  Runtime& runtime_;
  CUstream_st& stream_;
  std::shared_ptr<Operation> operation_;
  std::vector<OperationPtr> waits_;
};

// Puts a kernel on a stream, unless it touches memory that isn't there.
void put(Runtime& runtime, CUstream_st& stream, const Launch& launch);

// Why these bytes aren't to be used, empty if they are: freed, or not all of one region's.
std::string fault(Runtime& runtime, const void* memory, std::size_t bytes);
// Checks a touch by `operation`, which knows of `clock`. Adds what must be waited for to `waits`.
bool check_touch(Runtime& runtime, const OperationPtr& operation, const Clock& clock,
                 const Touch& touch, std::vector<OperationPtr>& waits);
// Complains of what the host can't know to be over. `action` is "cudaFree", for instance.
void check_free(Runtime& runtime, const char* action, const Region& region);

// The host knows from now on what the stream did so far; returns when it is done. Unlocks.
void synchronize(Runtime& runtime, Lock& lock, CUstream_st& stream);
void synchronize_all(Runtime& runtime, Lock& lock);
// Waits for everything without learning of it.
void drain(Runtime& runtime);

}  // namespace sluice::fake_cuda
