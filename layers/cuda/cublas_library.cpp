#include "layers/cuda/cublas_library.h"

#include <dlfcn.h>

#include <string>

#include "memory/error.h"

namespace sluice {

namespace {

constexpr int kBuiltWith = CUBLAS_VER_MAJOR;
constexpr int kKnownMajors[] = {kBuiltWith, 13, 12};  // the calls used are the same in all of them

std::string file_name(int major) {
  return text("libcublas.so.", major);
}

void* open_library() {
  std::string reasons;
  for (const int major : kKnownMajors) {
    void* const library = dlopen(file_name(major).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library != nullptr) return library;
    const std::string reason = dlerror();
    if (reasons.find(reason) == std::string::npos) {
      reasons += (reasons.empty() ? "" : "; ") + reason;
    }
  }
  throw Error(ErrorKind::kDevice,
              text("cuBLAS was not found (", reasons, "); install cuBLAS ", kBuiltWith,
                   " of the CUDA toolkit (package libcublas-", kBuiltWith, "-", CUBLAS_VER_MINOR,
                   "), and if it lies in a folder of its own, add that to LD_LIBRARY_PATH"));
}

template <typename Function>
void require(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function != nullptr) return;
  throw Error(ErrorKind::kDevice,
              text("cuBLAS lacks ", name, " (", dlerror(), "); install cuBLAS ", kBuiltWith));
}

CublasLibrary load() {
  void* const library = open_library();
  CublasLibrary cublas = {};
  require(library, "cublasCreate_v2", cublas.create);
  require(library, "cublasDestroy_v2", cublas.destroy);
  require(library, "cublasSetStream_v2", cublas.set_stream);
  require(library, "cublasSetWorkspace_v2", cublas.set_workspace);
  require(library, "cublasSetMathMode", cublas.set_math_mode);
  require(library, "cublasGemmEx", cublas.gemm_ex);
  require(library, "cublasGetStatusString", cublas.status_string);
  return cublas;
}

}  // namespace

const CublasLibrary& cublas_library() {
  static const CublasLibrary cublas = load();
  return cublas;
}

}  // namespace sluice
