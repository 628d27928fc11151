// What a stream is given, taken down as a CUDA graph.
#include <cuda_runtime_api.h>

#include "memory/cuda/check.h"
#include "memory/cuda/device_cuda.h"

namespace sluice {
namespace {

class CudaGraph final : public Graph {
 public:
  explicit CudaGraph(cudaGraphExec_t graph) : graph_(graph) {}
  ~CudaGraph() override { cudaGraphExecDestroy(graph_); }  // the driver lets what runs end
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;

  void launch(Stream& stream) override {
    check_cuda(cudaGraphLaunch(graph_, static_cast<CudaStream&>(stream).handle()),
               "launching a graph");
  }

 private:
  cudaGraphExec_t graph_;
};

// Ended with its scope, and what it took down is gone then.
class Capture {
 public:
  // Calls of this thread that can't be taken down fail meanwhile; other threads are left alone.
  explicit Capture(cudaStream_t stream) : stream_(stream) {
    check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
               "capturing a graph");
  }
  ~Capture() {
    if (!ended_) cudaStreamEndCapture(stream_, &graph_);
    if (graph_ != nullptr) cudaGraphDestroy(graph_);
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  cudaGraph_t end() {
    ended_ = true;
    check_cuda(cudaStreamEndCapture(stream_, &graph_), "capturing a graph");
    return graph_;
  }

 private:
  cudaStream_t stream_;
  cudaGraph_t graph_ = nullptr;
  bool ended_ = false;
};

}  // namespace

std::unique_ptr<Graph> DeviceCuda::capture(Stream& stream, const std::function<void()>& work) {
  if (epoch_ != nullptr) return nullptr;
  Capture capture(static_cast<CudaStream&>(stream).handle());
  work();
  cudaGraphExec_t graph = nullptr;
  const cudaError_t answer = cudaGraphInstantiateWithFlags(&graph, capture.end(), 0);
  if (answer == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check_cuda(answer, "making a graph");
  return std::make_unique<CudaGraph>(graph);
}

}  // namespace sluice
