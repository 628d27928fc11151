// What the reader does with files that lie.
#include <doctest/doctest.h>
#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "memory/gguf.h"
#include "memory/model_file.h"
#include "memory/units.h"
#include "tests/support/expect_error.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/memory_file.h"
#include "tests/support/reference_data.h"

namespace sluice {

using testing::ByteWriter;
using testing::failure_of;
using testing::GgufTensor;
using testing::GgufWriter;
using testing::kGgufArray;
using testing::kGgufString;
using testing::MemoryFile;

namespace {

// Lets this process take at most `more_bytes` beyond what it has: what a damaged file makes the
// reader allocate past that is std::bad_alloc, which no test here expects.
class MemoryLimit {
 public:
  explicit MemoryLimit(std::size_t more_bytes) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    std::ifstream statm("/proc/self/statm");
    std::vector<std::size_t> pages{std::istream_iterator<std::size_t>(statm), {}};
    REQUIRE(pages.size() == 7);
    REQUIRE(::getrlimit(RLIMIT_DATA, &before_) == 0);
    const rlimit limit{pages[5] * 4096 + more_bytes, before_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_DATA, &limit) == 0);
    is_set_ = true;
#else
    (void)more_bytes;  // a sanitizer's own memory would count
#endif
  }
  ~MemoryLimit() {
    if (is_set_) ::setrlimit(RLIMIT_DATA, &before_);
  }
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;

 private:
  rlimit before_{};
  bool is_set_ = false;
};

// A file of a few hundred bytes of header that has a bit of everything.
GgufWriter small_model() {
  GgufWriter writer;
  writer.add("general.architecture", "llama").add("llama.block_count", 2u);
  writer.add("llama.rope.freq_base", 1e4f).add("tokenizer.ggml.add_bos_token", true);
  writer.set_alignment(64);
  writer.add("tokenizer.ggml.tokens", std::vector<std::string>{"<s>", "a", "b", "ab", ""});
  writer.add("tokenizer.ggml.scores", std::vector<float>{0, -1, -2, -3, -4});
  writer.add("tokenizer.ggml.token_type", std::vector<std::int32_t>{3, 1, 1, 1, 1});
  writer.add("flags", std::vector<bool>{true, false});
  const std::vector<std::byte> bytes(4096, std::byte{0x5a});
  const std::span<const std::byte> all(bytes);
  writer.add_tensor("token_embd.weight", DType::kQ8_0, {5, 64}, all.first(5 * 68));
  writer.add_tensor("blk.0.attn_q.weight", DType::kQ4_1, {8, 64}, all.first(8 * 40));
  writer.add_tensor("blk.0.ffn_up_exps.weight", DType::kQ4_K, {2, 2, 256}, all.first(4 * 144));
  writer.add_tensor("output_norm.weight", DType::kF32, {64}, all.first(256));
  return writer;
}

std::size_t header_bytes(const std::string& file) {
  const std::size_t last = file.rfind("output_norm.weight");
  return last + std::string_view("output_norm.weight").size() + 4 + 8 + 4 + 8;
}

// What a file that was accepted must keep, however it came about.
void check_sound(const ModelFile& model) {
  std::vector<std::pair<std::size_t, std::size_t>> ranges;
  for (const TensorInfo& tensor : model.tensors()) {
    CHECK(tensor.shape.size() >= 1);
    CHECK(tensor.shape.size() <= 4);
    CHECK(tensor.size_bytes == tensor.rows() * row_bytes(tensor.type, tensor.columns()));
    CHECK(tensor.size_bytes > 0);
    CHECK(tensor.begin_bytes <= model.file_bytes());
    CHECK(tensor.size_bytes <= model.file_bytes() - tensor.begin_bytes);
    CHECK(&model.tensor(tensor.name) == &tensor);
    ranges.emplace_back(tensor.begin_bytes, tensor.begin_bytes + tensor.size_bytes);
  }
  std::ranges::sort(ranges);
  for (std::size_t i = 1; i < ranges.size(); ++i) CHECK(ranges[i - 1].second <= ranges[i].first);
}

std::string message_for(const std::string& bytes) {
  const MemoryFile file(bytes);
  const auto failure = failure_of([&] { ModelFile::open(file.path()); });
  CHECK(failure.kind == ErrorKind::kBadFile);
  CHECK(failure.says(file.path().native()));
  return failure.message;
}

void check_says(const GgufWriter& writer, const std::string& wanted) {
  const std::string message = message_for(writer.bytes());
  CAPTURE(message);
  CAPTURE(wanted);
  CHECK(message.find(wanted) != std::string::npos);
}

GgufTensor entry(std::string name, std::vector<std::uint64_t> dimensions, std::uint32_t type = 0,
                 std::uint64_t offset = 0) {
  std::string bytes(offset < 4096 ? 256 : 0, 'x');  // none where they would make the file large
  return {std::move(name), std::move(dimensions), type, offset, std::move(bytes)};
}

}  // namespace

TEST_CASE("gguf: a file cut anywhere is refused in one line") {
  const std::string whole = small_model().bytes();
  MemoryFile file(whole);
  CHECK(ModelFile::open(file.path()).tensors().size() == 4);
  std::vector<std::size_t> cuts;
  for (std::size_t i = 0; i < 300; ++i) cuts.push_back(i * (whole.size() - 1) / 299);
  for (std::size_t i = header_bytes(whole) - 200; i < header_bytes(whole) + 100; ++i) {
    cuts.push_back(i);
  }
  std::ranges::sort(cuts, std::greater{});
  for (const std::size_t cut : cuts) {
    CAPTURE(cut);
    file.resize(cut);
    const auto failure = failure_of([&] { ModelFile::open(file.path()); });
    CHECK(failure.kind == ErrorKind::kBadFile);
  }
}

TEST_CASE("gguf: a file of metadata alone is refused if one byte is missing") {
  GgufWriter writer;
  writer.add("count", 7u).add("flag", false).add("zeros", std::vector<std::uint8_t>(5));
  writer.add("name", std::string(9, '\0'));
  const std::string whole = writer.bytes();
  const std::size_t end = whole.find("name") + 4 + 4 + 8 + 9;
  MemoryFile file(whole);
  file.resize(end);
  CHECK(ModelFile::open(file.path()).metadata().size() == 4);
  for (std::size_t cut = end; cut-- > 0;) {
    CAPTURE(cut);
    file.resize(cut);
    CHECK(failure_of([&] { ModelFile::open(file.path()); }).kind == ErrorKind::kBadFile);
  }
}

TEST_CASE("gguf: 20,000 flipped bits give an error or a sound file, and no large allocation") {
  const std::string whole = small_model().bytes();
  MemoryFile file(whole);
  std::mt19937 random(1);
  std::uniform_int_distribution<std::size_t> any_bit(0, header_bytes(whole) * 8 - 1);
  std::size_t accepted = 0;
  std::size_t refused = 0;
  const MemoryLimit limit(64_MiB);
  for (int i = 0; i < 20'000; ++i) {
    const std::size_t bit = any_bit(random);
    CAPTURE(bit);
    const char flipped = static_cast<char>(whole[bit / 8] ^ (1 << bit % 8));
    file.put(bit / 8, {&flipped, 1});
    try {
      check_sound(ModelFile::open(file.path()));
      ++accepted;
    } catch (const Error& error) {
      const std::string_view message = error.what();
      CHECK(message.find('\n') == std::string_view::npos);
      CHECK(message.size() < 500);
      ++refused;
    }
    file.put(bit / 8, {&whole[bit / 8], 1});
  }
  CHECK(accepted > 2000);
  CHECK(refused > 2000);
}

TEST_CASE("gguf: a real model's header with flipped bits gives an error or a sound file" *
          doctest::test_suite("model")) {
  const std::filesystem::path path = real_model();
  std::string header(2_MiB, '\0');
  std::ifstream(path, std::ios::binary).read(header.data(), 2 << 20);
  MemoryFile file(header);
  const std::size_t data_begin = ModelFile::open(path).tensors()[0].begin_bytes;
  file.resize(std::filesystem::file_size(path));  // a hole where the data would be
  std::mt19937 random(2);
  for (int i = 0; i < 400; ++i) {
    // Half of them where most of the structure is: the first and the last 20 KB of the header.
    std::size_t at = random() % data_begin;
    if (i % 4 == 0) at %= 20'000;
    if (i % 4 == 1) at = data_begin - 1 - at % 20'000;
    CAPTURE(at);
    const char flipped = static_cast<char>(header[at] ^ (1 << random() % 8));
    file.put(at, {&flipped, 1});
    try {
      check_sound(ModelFile::open(file.path()));
    } catch (const Error& error) {
      CHECK(std::string_view(error.what()).find('\n') == std::string_view::npos);
    }
    file.put(at, {&header[at], 1});
  }
}

TEST_CASE("gguf: absurd counts are refused before anything is allocated for them") {
  const MemoryLimit limit(64_MiB);
  const std::string padding(4096, '\0');
  for (const std::uint64_t count : {std::uint64_t{1} << 20, std::uint64_t{1} << 40,
                                    std::uint64_t{1} << 61, ~std::uint64_t{0}}) {
    CAPTURE(count);
    CHECK(message_for(GgufWriter().claim_counts(count, 0).bytes() + padding)
              .find(text("tensor count is ", count, ", but the ")) != std::string::npos);
    CHECK(message_for(GgufWriter().claim_counts(0, count).bytes() + padding)
              .find(text("metadata count is ", count, ", but the ")) != std::string::npos);
    for (std::uint32_t type = 0; type <= 12; ++type) {
      if (type == kGgufArray) continue;
      CAPTURE(type);
      ByteWriter array;
      array.put(type);
      array.put(count);
      const auto bytes = GgufWriter().add_raw("long", kGgufArray, array.bytes()).bytes() + padding;
      CHECK(message_for(bytes).find(text("metadata key long: array of ", count, " values, but")) !=
            std::string::npos);
    }
    ByteWriter length;
    length.put(count);
    CHECK(message_for(GgufWriter().add_raw("long", kGgufString, length.bytes()).bytes() + padding)
              .find(text("takes ", count, " bytes, but the file ends")) != std::string::npos);
    for (std::size_t i = 0; i < 4; ++i) {
      std::vector<std::uint64_t> dimensions = {8, 2, 2, 2};
      dimensions[i] = count;
      check_says(GgufWriter().add_entry(entry("t", dimensions)), "tensor t: ");
    }
  }
}

TEST_CASE("gguf: a file as large as it claims can't ask for more than the reader's own limits") {
  const MemoryLimit limit(64_MiB);
  ByteWriter array;
  array.put(std::uint32_t{0});
  array.put(kGgufMaxArrayValues + 1);
  GgufWriter writer;
  writer.add_raw("large", kGgufArray, array.bytes());
  MemoryFile bytes(writer.bytes());
  bytes.resize(64_MiB);
  CHECK(failure_of([&] { ModelFile::open(bytes.path()); }).says("at most 8388608 are accepted"));

  MemoryFile tensors(GgufWriter().claim_counts(kGgufMaxTensors + 1, 0).bytes());
  tensors.resize(64_MiB);
  CHECK(failure_of([&] { ModelFile::open(tensors.path()); }).says("at most 262144 is accepted"));

  MemoryFile keys(GgufWriter().claim_counts(0, kGgufMaxKeys + 1).bytes());
  keys.resize(64_MiB);
  CHECK(failure_of([&] { ModelFile::open(keys.path()); }).says("at most 65536 is accepted"));
}

TEST_CASE("gguf: a tensor that is wrong is refused by name, with what would be accepted") {
  const auto check = [](const GgufTensor& tensor, const std::string& wanted) {
    check_says(GgufWriter().add_entry(tensor), wanted);
  };
  check(entry("t", {}), "tensor t: has 0 dimensions, 1 to 4 are expected");
  check(entry("t", {1, 1, 1, 1, 1}), "tensor t: has 5 dimensions, 1 to 4 are expected");
  check(entry("t", {4, 0}), "tensor t: shape [0, 4] has a dimension of 0");
  check(entry("t", {33, 2}, 2), "tensor t: has 33 columns, Q4_0 needs a multiple of 32");
  check(entry("t", {~0ull, ~0ull}), "takes more than 2^64 bytes");
  check(entry("t", {1ull << 32, 1ull << 32}), "takes more than 2^64 bytes");
  check(entry("t", {1ull << 31, 1ull << 30}), "takes 9223372036854775808 bytes from byte 0");
  check(entry("t", {4}, 0, 33), "tensor t: offset is 33, a multiple of 32 is expected");
  check(entry("t", {4}, 0, 1 << 20), "takes 16 bytes from byte 1048576 of the data, which has 0");
  check(entry("t", {4}, 0, ~0ull - 31), "of the data, which has 0");
  check(entry("t", {65}), "[65] of F32 takes 260 bytes from byte 0 of the data, which has 256");
  check(entry("t", {32}, 16), "type 16 (IQ2_XXS) is not supported; supported are F32, F16, BF16");
  check(entry("t", {32}, 4), "tensor t: type 4 is not supported");
  check(entry("", {32}), "tensor 1 of 1: its name has 0 bytes, 1 to 64 are expected");
  check(entry(std::string(65, 'n'), {32}), "its name has 65 bytes, 1 to 64 are expected");
  check(entry("t\x1b[2J\xff\n", {}), "tensor t\\x1b[2J\\xff\\x0a: has 0 dimensions");

  GgufWriter twice;
  twice.add_entry(entry("t", {4})).add_entry(entry("t", {4}, 0, 32));
  check_says(twice, "tensor t: occurs twice");
  GgufWriter overlapping;
  overlapping.add_entry(entry("b", {8}, 0, 32)).add_entry(entry("a", {9}));
  check_says(overlapping, "tensor b: begins at byte 128, within tensor a, which ends at byte 132");
}

TEST_CASE("gguf: metadata that is wrong is refused by key, with what would be accepted") {
  check_says(GgufWriter().add_raw("k", 13, ""), "metadata key k: value type is 13, 0 to 12 is");
  check_says(GgufWriter().add_raw("k", 7, "\2"), "metadata key k: bool is 2, 0 or 1 is expected");
  check_says(GgufWriter().add("k", 1u).add("k", 2u), "metadata key k: occurs twice");
  check_says(GgufWriter().add("", 1u), "metadata entry 1 of 1: its key has 0 bytes");
  check_says(GgufWriter().add(std::string(65536, 'k'), 1u), "its key has 65536 bytes, 1 to 65535");
  check_says(GgufWriter().add("general.alignment", "32"), "an unsigned integer is expected");
  check_says(GgufWriter().add("general.alignment", 48u),
             "general.alignment: is 48, a power of two");
  check_says(GgufWriter().add("general.alignment", 4u), "general.alignment: is 4, a power of two");
  check_says(GgufWriter().add("general.alignment", 0u), "general.alignment: is 0, a power of two");
  check_says(GgufWriter().add("k\n\xe2\x80\xae", 1u).add("k\n\xe2\x80\xae", 1u),
             "metadata key k\\x0a\\xe2\\x80\\xae: occurs twice");
  ByteWriter array;
  array.put(kGgufArray);
  array.put(std::uint64_t{1});
  check_says(GgufWriter().add_raw("k", kGgufArray, array.bytes()), "key k: an array of arrays");
  ByteWriter bools;
  bools.put(std::uint32_t{7});
  bools.put(std::uint64_t{2});
  bools.put_raw("\1\3");
  check_says(GgufWriter().add_raw("k", kGgufArray, bools.bytes()), "key k: bool is 3, 0 or 1 is");
}

TEST_CASE("gguf: what isn't a GGUF file of a version we read is told apart") {
  const auto check = [](const std::string& bytes, const std::string& wanted) {
    const std::string message = message_for(bytes);
    CAPTURE(message);
    CHECK(message.find(wanted) != std::string::npos);
  };
  check("hello, world, this is no model", "is not a GGUF file: it starts with \"hell\"");
  check("version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer");
  check("<!DOCTYPE html>", "a web page");
  check(std::string("PK\3\4\0\0\0\0", 8), "starts with \"PK\\x03\\x04\": a zip archive");
  check("G", "is not a GGUF file: it starts with \"G\"");
  check("GGUF", "header: version at byte 4 takes 4 bytes, but the file ends after 0");
  check(GgufWriter(1).bytes(), "version is 1, 2 or 3 is expected");
  check(GgufWriter(4).bytes(), "version is 4, 2 or 3 is expected");
  check(GgufWriter(0).bytes(), "version is 0, 2 or 3 is expected");
  check(GgufWriter(0x03000000).bytes(), "big-endian (version 3), a little-endian file is expected");
}

}  // namespace sluice
