#include "memory/disk_reader.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <filesystem>
#include <random>

#include "memory/packed.h"
#include "memory/read_queue.h"
#include "memory/units.h"
#include "tests/support/expect_error.h"
#include "tests/support/reference_data.h"
#include "tests/support/synthetic_file.h"
#include "tests/support/temporary_folder.h"

using namespace sluice;

namespace {

// Runs of whole panels out of random tensors, one behind the other in a buffer.
std::vector<std::vector<DiskRows>> random_parts(const ModelFile& file, std::size_t count,
                                                std::mt19937& random) {
  std::vector<std::vector<DiskRows>> parts(count);
  for (std::vector<DiskRows>& part : parts) {
    std::size_t at = 0;
    for (std::size_t i = 0; i <= random() % 3; ++i) {
      const TensorInfo& t = file.tensors()[random() % file.tensors().size()];
      if (t.shape.size() != 2) continue;
      const std::size_t first = random() % ceil_div(t.rows(), kPanelRows) * kPanelRows;
      const std::size_t rows = std::min(t.rows() - first, (1 + random() % 200) * kPanelRows);
      const std::size_t row = row_bytes(t.type, t.columns());
      part.push_back({t.file, t.begin_bytes + first * row, rows, t.type, t.columns(), at});
      at += ceil_div(rows, kPanelRows) * kPanelRows * row;
    }
  }
  return parts;
}

std::size_t part_bytes(const std::vector<DiskRows>& part) {
  std::size_t bytes = 0;
  for (const DiskRows& r : part) {
    bytes = r.to_bytes + packed_bytes(r.type, r.rows, r.columns);
  }
  return bytes;
}

std::vector<std::byte> packed(const ModelFile& file, const std::vector<DiskRows>& part) {
  std::vector<std::byte> out(part_bytes(part));
  for (const DiskRows& r : part) {
    const std::size_t row = row_bytes(r.type, r.columns);
    for (std::size_t first = 0; first < r.rows; first += kPanelRows) {
      pack_panel(r.type, file.file(r.file).bytes().data() + r.begin_bytes + first * row,
                 std::min(kPanelRows, r.rows - first), r.columns,
                 out.data() + r.to_bytes + first * row);
    }
  }
  return out;
}

struct Buffers {
  Buffers(std::size_t count, std::size_t bytes) : memory(count * bytes) {
    for (std::size_t i = 0; i < count; ++i) begins.push_back(memory.data() + i * bytes);
  }
  std::vector<std::byte> memory;
  std::vector<std::byte*> begins;
};

void check_reads(const std::filesystem::path& path, std::uint32_t seed,
                 MakeReadQueue make_queue = ReadQueue::make) {
  const ModelFile file = ModelFile::open(path);
  std::mt19937 random(seed);
  const auto parts = random_parts(file, 8, random);
  std::size_t largest = 1;
  for (const auto& part : parts) largest = std::max(largest, part_bytes(part));
  for (const std::size_t count : {1, 2, 5}) {
    CAPTURE(count);
    Buffers buffers(count, largest);
    DiskReader reader(file, parts, buffers.begins, make_queue);
    std::deque<std::size_t> asked;
    for (int round = 0; round < 60; ++round) {
      while (asked.size() < count && random() % 4 != 0) {
        asked.push_back(random() % parts.size());
        reader.ask(asked.back());
      }
      if (asked.empty()) continue;
      Span span;
      const std::byte* got = reader.take(&span);
      CHECK(span.end_seconds >= span.begin_seconds);
      const std::vector<std::byte> want = packed(file, parts[asked.front()]);
      CHECK(std::equal(want.begin(), want.end(), got));
      asked.pop_front();
    }
  }
}

}  // namespace

TEST_CASE("disk reader: parts come packed, in the order in which they were asked for") {
  for (const TinyReference& reference : tiny_references()) {
    CAPTURE(reference.name);
    check_reads(reference.gguf, 5);
  }
  const testing::TemporaryFolder folder;
  testing::write_synthetic(folder / "m.gguf", testing::kFewMegabytes, DType::kQ6_K);
  check_reads(folder / "m.gguf", 6);
  check_reads(folder / "m.gguf", 7, ReadQueue::make_plain);
}

TEST_CASE("disk reader: may go while much is asked for and nothing taken") {
  const ModelFile file = ModelFile::open(tiny_reference("quants").gguf);
  std::mt19937 random(7);
  const auto parts = random_parts(file, 8, random);
  std::size_t largest = 1;
  for (const auto& part : parts) largest = std::max(largest, part_bytes(part));
  for (std::size_t asked = 0; asked < 20; ++asked) {
    Buffers buffers(20, largest);
    DiskReader reader(file, parts, buffers.begins);
    for (std::size_t i = 0; i < asked; ++i) reader.ask(i % parts.size());
  }
}

TEST_CASE("disk reader: a file that became shorter is one clear error, then and ever after") {
  const testing::TemporaryFolder folder;
  std::filesystem::copy_file(tiny_reference("quants").gguf, folder / "m.gguf");
  const ModelFile file = ModelFile::open(folder / "m.gguf");
  const TensorInfo& last = *std::ranges::max_element(file.tensors(), {}, &TensorInfo::begin_bytes);
  const std::vector<std::vector<DiskRows>> parts = {
      {{last.file, last.begin_bytes, last.rows(), last.type, last.columns(), 0}}};
  Buffers buffers(3, part_bytes(parts[0]));
  DiskReader reader(file, parts, buffers.begins);
  reader.ask(0);
  CHECK(reader.take(nullptr) == buffers.begins[0]);
  std::filesystem::resize_file(folder / "m.gguf", file.file_bytes() - 1);
  reader.ask(0);
  reader.ask(0);
  for (int i = 0; i < 2; ++i) {
    const testing::Failure failure = testing::failure_of([&] { reader.take(nullptr); });
    CHECK(failure.kind == ErrorKind::kIo);
    CHECK(failure.says("shorter"));
    CHECK(failure.says("m.gguf"));
  }
}

TEST_CASE("read queue: of either kind brings what the file holds, and tells its end and errors") {
  const std::filesystem::path path = tiny_reference("quants").gguf;
  const MappedFile mapped(path);
  const DirectFile file(mapped);
  constexpr std::size_t kDepth = 4;
  constexpr std::size_t kBytes = 8192;
  HostStore memory(kDepth * kBytes);
  for (const bool plain : {false, true}) {
    CAPTURE(plain);
    const auto queue = plain ? ReadQueue::make_plain(kDepth) : ReadQueue::make(kDepth);
    const std::size_t reads = mapped.bytes().size() / kBytes + 1;
    std::vector<bool> seen(reads);
    std::size_t given = 0;
    std::vector<std::size_t> read_of(kDepth);
    const auto give = [&](std::size_t tag) {
      if (given == reads) return;
      read_of[tag] = given;
      queue->submit({file.descriptor(), given++ * kBytes, memory.data() + tag * kBytes, kBytes},
                    tag);
    };
    for (std::size_t tag = 0; tag < kDepth; ++tag) give(tag);
    for (std::size_t i = 0; i < reads; ++i) {
      const ReadQueue::Done done = queue->wait();
      const std::size_t read = read_of[done.tag];
      const std::size_t want = std::min(kBytes, mapped.bytes().size() - read * kBytes);
      REQUIRE(done.result == static_cast<ssize_t>(want));
      CHECK(std::memcmp(memory.data() + done.tag * kBytes, mapped.bytes().data() + read * kBytes,
                        want) == 0);
      CHECK(!seen[read]);
      seen[read] = true;
      give(done.tag);
    }
    queue->submit({-1, 0, memory.data(), kBytes}, 3);
    const ReadQueue::Done refused = queue->wait();
    CHECK(refused.tag == 3);
    CHECK(refused.result == -EBADF);
  }
}
