// Files that a run leaves behind: written beside their name, and put there when whole.
#pragma once

#include <cstddef>
#include <cstdio>
#include <span>
#include <string>

namespace sluice {

// Replaces `path` when commit() is called; a run that ends before leaves what was there. A pipe or
// a device is written as it is. Throws Error{kIo} naming the file and the cause, a full disk
// included.
class OutputFile {
 public:
  explicit OutputFile(std::string path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;

  void write(const void* data, std::size_t bytes);
  void write(const std::string& text) { write(text.data(), text.size()); }
  void rewrite(std::size_t at, const std::string& text);  // over what was written before
  void commit();
  // Throws now what writing `bytes` would throw when the disk is full.
  void require_space(std::size_t bytes) const;

 private:
  void discard() const;
  [[noreturn]] void fail() const;

  std::string path_;
  std::string fresh_path_;
  std::FILE* file_ = nullptr;
};

// The whole of a file at once.
void write_file(const std::string& path, const std::string& content);

// Rows of f32 as a NumPy array [rows, columns] (format version 1.0).
class NpyFile {
 public:
  NpyFile(std::string path, std::size_t columns);
  void append(std::span<const float> row);
  void commit();

 private:
  std::string header() const;

  OutputFile file_;
  std::size_t rows_ = 0;
  std::size_t columns_;
};

}  // namespace sluice
