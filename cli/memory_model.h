// A synthetic model that needs no file: it lies in memory, and is opened as a file is.
#pragma once

#include <filesystem>

#include "cli/synthetic_model.h"

namespace sluice {

class MemoryModel {
 public:
  // Writes the model. Throws Error{kIo} if there isn't memory for it and for its packed weights, of
  // which those of layers that share their bytes aren't counted: they may be the device's.
  MemoryModel(const SyntheticModel& model, const Progress& progress, const std::atomic<bool>* stop);
  // Writes the header alone; the weights are zeros that take no memory. For what reads none.
  struct HeaderOnly {};
  MemoryModel(const SyntheticModel& model, HeaderOnly);
  ~MemoryModel();
  MemoryModel(const MemoryModel&) = delete;

  std::filesystem::path path() const;  // while this object lives

 private:
  int file_;
};

}  // namespace sluice
