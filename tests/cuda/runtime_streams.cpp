// Calls about streams and events, and waiting.
#include <chrono>

#include "tests/cuda/runtime_state.h"

namespace fake = sluice::fake_cuda;
using fake::call;
using fake::Issue;
using fake::Lock;
using fake::Needs;
using fake::Recording;
using fake::Runtime;

namespace {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool reached(const Recording& recording) {
  return recording.queue->done(recording.number);
}

cudaError_t make_stream(const char* name, cudaStream_t* stream, unsigned int flags) {
  return call(name, Needs::kContext, [&](Runtime& runtime, Lock&) {
    if (stream == nullptr || flags > cudaStreamNonBlocking) return cudaErrorInvalidValue;
    *stream = &runtime.add_stream(flags == cudaStreamDefault);
    return cudaSuccess;
  });
}

cudaError_t make_event(const char* name, cudaEvent_t* event, unsigned int flags) {
  return call(name, Needs::kContext, [&](Runtime& runtime, Lock&) {
    if (event == nullptr) return cudaErrorInvalidValue;
    *event = &runtime.events.emplace_back(CUevent_st{(flags & cudaEventDisableTiming) == 0});
    runtime.live_events.insert(*event);
    return cudaSuccess;
  });
}

}  // namespace

extern "C" {

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return make_stream("cudaStreamCreate", stream, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int flags) {
  return make_stream("cudaStreamCreateWithFlags", stream, flags);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned int flags,
                                         int /*priority*/) {
  return make_stream("cudaStreamCreateWithPriority", stream, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  return call("cudaStreamDestroy", Needs::kContext, [&](Runtime& runtime, Lock&) {
    CUstream_st* const stream = runtime.stream(handle);
    if (stream == nullptr || stream == &runtime.streams.front()) {
      return cudaErrorInvalidResourceHandle;
    }
    stream->queue->finish();
    stream->alive = false;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  return call("cudaStreamSynchronize", Needs::kContext, [&](Runtime& runtime, Lock& lock) {
    CUstream_st* const stream = runtime.stream(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    fake::synchronize(runtime, lock, *stream);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  return call("cudaStreamQuery", Needs::kContext, [&](Runtime& runtime, Lock&) {
    CUstream_st* const stream = runtime.stream(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    if (!stream->queue->done(stream->queue->given())) return cudaErrorNotReady;
    runtime.host.join(stream->clock);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream_handle, cudaEvent_t event_handle,
                                unsigned int /*flags*/) {
  return call("cudaStreamWaitEvent", Needs::kContext, [&](Runtime& runtime, Lock&) {
    CUstream_st* const stream = runtime.stream(stream_handle);
    const CUevent_st* const event = runtime.event(event_handle);
    if (stream == nullptr || event == nullptr) return cudaErrorInvalidResourceHandle;
    const auto recording = event->recording;
    if (recording == nullptr) return cudaSuccess;
    stream->clock.join(recording->clock);
    if (recording->queue == stream->queue.get()) return cudaSuccess;
    stream->queue->give([recording] { recording->queue->wait(recording->number); });
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceSynchronize() {
  return call("cudaDeviceSynchronize", Needs::kContext, [&](Runtime& runtime, Lock& lock) {
    fake::synchronize_all(runtime, lock);
    return cudaSuccess;
  });
}

cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void* argument) {
  return call("cudaLaunchHostFunc", Needs::kContext, [&](Runtime& runtime, Lock&) {
    CUstream_st* const stream = runtime.stream(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    if (function == nullptr) return cudaErrorInvalidValue;
    Issue(runtime, *stream, "host function").give([=] { function(argument); });
    return cudaSuccess;
  });
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return make_event("cudaEventCreate", event, cudaEventDefault);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int flags) {
  return make_event("cudaEventCreateWithFlags", event, flags);
}

cudaError_t cudaEventDestroy(cudaEvent_t handle) {
  return call("cudaEventDestroy", Needs::kContext, [&](Runtime& runtime, Lock&) {
    CUevent_st* const event = runtime.event(handle);
    if (event == nullptr) return cudaErrorInvalidResourceHandle;
    runtime.live_events.erase(event);
    event->recording = nullptr;
    return cudaSuccess;
  });
}

cudaError_t cudaEventRecord(cudaEvent_t event_handle, cudaStream_t stream_handle) {
  return call("cudaEventRecord", Needs::kContext, [&](Runtime& runtime, Lock&) {
    CUstream_st* const stream = runtime.stream(stream_handle);
    CUevent_st* const event = runtime.event(event_handle);
    if (stream == nullptr || event == nullptr) return cudaErrorInvalidResourceHandle;
    Issue issue(runtime, *stream, "event");
    const auto recording = std::make_shared<Recording>();
    recording->queue = stream->queue.get();
    recording->clock = stream->clock;
    issue.give([recording] { recording->seconds = seconds_now(); });
    recording->number = stream->queue->given();
    event->recording = recording;
    return cudaSuccess;
  });
}

cudaError_t cudaEventQuery(cudaEvent_t handle) {
  return call("cudaEventQuery", Needs::kContext, [&](Runtime& runtime, Lock&) {
    const CUevent_st* const event = runtime.event(handle);
    if (event == nullptr) return cudaErrorInvalidResourceHandle;
    if (event->recording == nullptr) return cudaSuccess;
    if (!reached(*event->recording)) return cudaErrorNotReady;
    runtime.host.join(event->recording->clock);
    return cudaSuccess;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  return call("cudaEventSynchronize", Needs::kContext, [&](Runtime& runtime, Lock& lock) {
    const CUevent_st* const event = runtime.event(handle);
    if (event == nullptr) return cudaErrorInvalidResourceHandle;
    const auto recording = event->recording;
    if (recording == nullptr) return cudaSuccess;
    runtime.host.join(recording->clock);
    lock.unlock();
    recording->queue->wait(recording->number);
    return cudaSuccess;
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  return call("cudaEventElapsedTime", Needs::kContext, [&](Runtime& runtime, Lock&) {
    const CUevent_st* const first = runtime.event(from);
    const CUevent_st* const second = runtime.event(to);
    for (const CUevent_st* const event : {first, second}) {
      if (event == nullptr || !event->timing || event->recording == nullptr) {
        return cudaErrorInvalidResourceHandle;
      }
    }
    if (!reached(*first->recording) || !reached(*second->recording)) return cudaErrorNotReady;
    const double seconds = second->recording->seconds - first->recording->seconds;
    *milliseconds = static_cast<float>(1e3 * seconds);
    return cudaSuccess;
  });
}

}  // extern "C"
