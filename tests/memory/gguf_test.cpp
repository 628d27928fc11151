#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <string>
#include <vector>

#include "memory/model_file.h"
#include "memory/units.h"
#include "tests/support/expect_error.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/reference_data.h"
#include "tests/support/temporary_folder.h"

namespace sluice {

using testing::failure_of;
using testing::GgufWriter;
using testing::TemporaryFolder;

namespace {

std::vector<std::byte> pattern(std::size_t size_bytes, unsigned seed) {
  std::vector<std::byte> bytes(size_bytes);
  for (std::size_t i = 0; i < size_bytes; ++i) {
    bytes[i] = static_cast<std::byte>((i * 131 + seed * 7919) >> 3);
  }
  return bytes;
}

template <typename T>
T value_of(const ModelFile& file, std::string_view key) {
  CAPTURE(key);
  const auto entry = file.metadata().find(key);
  REQUIRE(entry != file.metadata().end());
  REQUIRE(std::holds_alternative<T>(entry->second));
  return std::get<T>(entry->second);
}

}  // namespace

TEST_CASE("gguf: every type of metadata is read, widened and never rounded") {
  TemporaryFolder folder;
  for (const std::uint32_t version : {2u, 3u}) {
    CAPTURE(version);
    using I64 = std::numeric_limits<std::int64_t>;
    GgufWriter writer(version);
    writer.add("u8", std::uint8_t{255}).add("i8", std::int8_t{-128});
    writer.add("u16", std::uint16_t{65535}).add("i16", std::int16_t{-32768});
    writer.add("u32", 4294967295u).add("i32", std::int32_t{-2147483647});
    writer.add("u64", ~std::uint64_t{0}).add("i64", I64::min());
    writer.add("f32", 0.1f).add("f64", 0.1).add("yes", true).add("no", false);
    writer.add("text", "caf\xc3\xa9").add("empty", "");
    writer.add("u8s", std::vector<std::uint8_t>{1, 255});
    writer.add("i8s", std::vector<std::int8_t>{-1, 127});
    writer.add("u16s", std::vector<std::uint16_t>{1, 65535});
    writer.add("i16s", std::vector<std::int16_t>{-1, 32767});
    writer.add("u32s", std::vector<std::uint32_t>{4294967295u});
    writer.add("i32s", std::vector<std::int32_t>{-5, 5});
    writer.add("u64s", std::vector<std::uint64_t>{~std::uint64_t{0}});
    writer.add("i64s", std::vector<std::int64_t>{I64::min(), I64::max()});
    writer.add("f32s", std::vector<float>{-0.5f, 0.1f});
    writer.add("f64s", std::vector<double>{0.1});
    writer.add("bools", std::vector<bool>{true, false, true});
    writer.add("texts", std::vector<std::string>{"a", "", "\xe2\x82\xac"});
    writer.add("none", std::vector<std::string>{});
    writer.write(folder / "types.gguf");

    const ModelFile file = ModelFile::open(folder / "types.gguf");
    CHECK(file.metadata().size() == 27);
    CHECK(file.tensors().empty());
    CHECK(value_of<std::uint64_t>(file, "u8") == 255);
    CHECK(value_of<std::int64_t>(file, "i8") == -128);
    CHECK(value_of<std::uint64_t>(file, "u16") == 65535);
    CHECK(value_of<std::int64_t>(file, "i16") == -32768);
    CHECK(value_of<std::uint64_t>(file, "u32") == 4294967295u);
    CHECK(value_of<std::int64_t>(file, "i32") == -2147483647);
    CHECK(value_of<std::uint64_t>(file, "u64") == ~std::uint64_t{0});
    CHECK(value_of<std::int64_t>(file, "i64") == I64::min());
    CHECK(value_of<double>(file, "f32") == double{0.1f});
    CHECK(value_of<double>(file, "f64") == 0.1);
    CHECK(value_of<bool>(file, "yes"));
    CHECK_FALSE(value_of<bool>(file, "no"));
    CHECK(value_of<std::string_view>(file, "text") == "caf\xc3\xa9");
    CHECK(value_of<std::string_view>(file, "empty").empty());
    using Uints = std::vector<std::uint64_t>;
    using Ints = std::vector<std::int64_t>;
    CHECK(value_of<Uints>(file, "u8s") == Uints{1, 255});
    CHECK(value_of<Ints>(file, "i8s") == Ints{-1, 127});
    CHECK(value_of<Uints>(file, "u16s") == Uints{1, 65535});
    CHECK(value_of<Ints>(file, "i16s") == Ints{-1, 32767});
    CHECK(value_of<Uints>(file, "u32s") == Uints{4294967295u});
    CHECK(value_of<Ints>(file, "i32s") == Ints{-5, 5});
    CHECK(value_of<Uints>(file, "u64s") == Uints{~std::uint64_t{0}});
    CHECK(value_of<Ints>(file, "i64s") == Ints{I64::min(), I64::max()});
    CHECK(value_of<std::vector<double>>(file, "f32s") == std::vector<double>{-0.5, double{0.1f}});
    CHECK(value_of<std::vector<double>>(file, "f64s") == std::vector<double>{0.1});
    CHECK(value_of<std::vector<bool>>(file, "bools") == std::vector<bool>{true, false, true});
    CHECK(value_of<std::vector<std::string_view>>(file, "texts") ==
          std::vector<std::string_view>{"a", "", "\xe2\x82\xac"});
    CHECK(value_of<std::vector<std::string_view>>(file, "none").empty());
  }
}

TEST_CASE("gguf: tensors of every type and any alignment come out where they were put") {
  TemporaryFolder folder;
  for (const std::uint32_t alignment_bytes : {8u, 32u, 64u, 4096u}) {
    GgufWriter writer;
    if (alignment_bytes != 32) writer.set_alignment(alignment_bytes);
    std::size_t number = 0;
    for (const DType type : kAllDTypes) {
      const std::size_t columns = 3 * dtype_info(type).group_values;
      const auto bytes = pattern(2 * 5 * row_bytes(type, columns), static_cast<unsigned>(number));
      writer.add_tensor(text("t", number++), type, {2, 5, columns}, bytes);
    }
    writer.write(folder / "tensors.gguf");

    const ModelFile file = ModelFile::open(folder / "tensors.gguf");
    REQUIRE(file.tensors().size() == kDTypeCount);
    for (std::size_t i = 0; i < kDTypeCount; ++i) {
      const TensorInfo& tensor = file.tensor(text("t", i));
      CAPTURE(tensor.name);
      CAPTURE(alignment_bytes);
      CHECK(&tensor == &file.tensors()[i]);
      CHECK(tensor.type == kAllDTypes[i]);
      const std::size_t columns = 3 * dtype_info(tensor.type).group_values;
      CHECK(tensor.shape == std::vector<std::size_t>{2, 5, columns});
      CHECK(tensor.rows() == 10);
      CHECK(tensor.columns() == columns);
      CHECK(tensor.begin_bytes % alignment_bytes == 0);
      const auto wanted = pattern(tensor.size_bytes, static_cast<unsigned>(i));
      CHECK(std::ranges::equal(file.tensor_bytes(tensor), wanted));
    }
  }
}

TEST_CASE("gguf: a split model is opened whole from any of its parts") {
  TemporaryFolder folder;
  GgufWriter writer;
  writer.add("general.name", "split");
  for (unsigned i = 0; i < 5; ++i) {
    writer.add_tensor(text("t", i), DType::kQ8_0, {i + 1, 32}, pattern(34 * (i + 1), i));
  }
  const auto parts = writer.write_split(folder / "model", 2);
  REQUIRE(parts.size() == 3);
  CHECK(parts[1].filename() == "model-00002-of-00003.gguf");
  std::size_t file_bytes = 0;
  for (const auto& part : parts) file_bytes += std::filesystem::file_size(part);

  for (const auto& part : parts) {
    CAPTURE(part);
    const ModelFile file = ModelFile::open(part);
    CHECK(file.path() == parts[0]);
    CHECK(file.file_bytes() == file_bytes);
    CHECK(file.get_string("general.name") == "split");
    REQUIRE(file.tensors().size() == 5);
    for (unsigned i = 0; i < 5; ++i) {
      const TensorInfo& tensor = file.tensor(text("t", i));
      CHECK(tensor.file == i / 2);
      CHECK(std::ranges::equal(file.tensor_bytes(tensor), pattern(34 * (i + 1), i)));
    }
  }
}

TEST_CASE("gguf: a split model that doesn't fit together is refused, naming the part") {
  TemporaryFolder folder;
  const auto part = [&](int number, int count, int total, const char* tensor) {
    GgufWriter writer;
    writer.add("split.no", static_cast<std::uint16_t>(number));
    writer.add("split.count", static_cast<std::uint16_t>(count));
    writer.add("split.tensors.count", total);
    return writer.add_tensor(tensor, std::vector<std::size_t>{1}, std::vector<float>{1.0f});
  };
  const auto first = folder / "m-00001-of-00002.gguf";
  const auto second = folder / "m-00002-of-00002.gguf";
  const auto failure = [&] { return failure_of([&] { ModelFile::open(first); }); };
  part(0, 2, 2, "a").write(first);

  SUBCASE("a part is missing") {
    CHECK(failure().kind == ErrorKind::kIo);
    CHECK(failure().says("m-00002-of-00002.gguf"));
    CHECK(failure().says("part 2 of 2"));
  }
  SUBCASE("a part comes from a model of another number of parts") {
    part(1, 3, 2, "b").write(second);
    CHECK(failure().says("m-00002-of-00002.gguf: metadata key split.count: is 3, 2 is expected"));
  }
  SUBCASE("a part is another than its name says") {
    part(0, 2, 2, "b").write(second);
    CHECK(failure().says("m-00002-of-00002.gguf: metadata key split.no: is 0, 1 is expected"));
  }
  SUBCASE("a tensor is in two parts") {
    part(1, 2, 2, "a").write(second);
    CHECK(failure().says("m-00002-of-00002.gguf: tensor a: is in "));
    CHECK(failure().says("m-00001-of-00002.gguf too"));
  }
  SUBCASE("there are fewer tensors than the model has") {
    part(0, 2, 3, "a").write(first);
    part(1, 2, 3, "b").write(second);
    CHECK(failure().says("split.tensors.count: is 3, what its parts hold together, 2 is expected"));
  }
  SUBCASE("a part is renamed, so that the others can't be found") {
    for (const std::string name : {"renamed.gguf", "m_00001-of-00002.gguf", "00001-of-00002.gguf",
                                   "m-0a001-of-00002.gguf", "m-00001-of-00003.gguf"}) {
      CAPTURE(name);
      part(0, 2, 2, "a").write(folder / name);
      const auto renamed = failure_of([&] { ModelFile::open(folder / name); });
      CHECK(renamed.kind == ErrorKind::kBadFile);
      CHECK(renamed.says("one of 2 parts of a split model"));
      CHECK(renamed.says("must end as -00001-of-00002.gguf does"));
    }
  }
  SUBCASE("nothing is wrong") {
    part(1, 2, 2, "b").write(second);
    CHECK(ModelFile::open(first).tensors().size() == 2);
  }
}

TEST_CASE("model file: a key of another type or out of range is an error that says what it is") {
  TemporaryFolder folder;
  GgufWriter writer;
  writer.add("small", std::uint8_t{7}).add("minus", std::int32_t{-1}).add("plus", std::int8_t{3});
  writer.add("real", 1.5f).add("text", "seven").add("flag", true);
  writer.add("ints", std::vector<std::int32_t>{-1, 2});
  writer.add("large", std::vector<std::uint64_t>{1, std::uint64_t{1} << 63});
  writer.add("reals", std::vector<float>{0.5f});
  writer.add("texts", std::vector<std::string>{"x"});
  writer.write(folder / "m.gguf");
  const ModelFile file = ModelFile::open(folder / "m.gguf");

  CHECK(file.find_uint("small") == 7);
  CHECK(file.find_uint("plus") == 3);
  CHECK(file.find_float("small") == 7.0);
  CHECK(file.find_float("minus") == -1.0);
  CHECK(file.find_float("real") == 1.5);
  CHECK(file.find_bool("flag") == true);
  CHECK(file.find_string("text") == "seven");
  CHECK(file.get_uint("small") == 7);
  CHECK(file.get_string("text") == "seven");
  CHECK(file.find_ints("ints") == std::vector<std::int64_t>{-1, 2});
  CHECK(file.find_floats("ints") == std::vector<double>{-1.0, 2.0});
  CHECK(file.find_floats("large") == std::vector<double>{1.0, 9223372036854775808.0});
  CHECK(file.find_floats("reals") == std::vector<double>{0.5});
  CHECK(*file.find_strings("texts") == std::vector<std::string_view>{"x"});

  CHECK(file.find_uint("absent") == std::nullopt);
  CHECK(file.find_bool("absent") == std::nullopt);
  CHECK(file.find_float("absent") == std::nullopt);
  CHECK(file.find_string("absent") == std::nullopt);
  CHECK(file.find_strings("absent") == nullptr);
  CHECK(file.find_ints("absent") == std::nullopt);
  CHECK(file.find_floats("absent") == std::nullopt);
  CHECK(file.find_tensor("absent") == nullptr);

  const auto says = [&](auto&& body, const std::string& wanted) {
    const auto failure = failure_of(body);
    CAPTURE(failure.message);
    CHECK(failure.kind == ErrorKind::kBadFile);
    CHECK(failure.says((folder / "m.gguf").native() + ": "));
    CHECK(failure.says(wanted));
  };
  says([&] { file.find_uint("minus"); }, "key minus: is -1, an integer of 0 or more is expected");
  says([&] { file.find_uint("real"); }, "key real: is a float, an integer of 0 or more is");
  says([&] { file.find_bool("small"); }, "key small: is an unsigned integer, a bool is expected");
  says([&] { file.find_float("text"); }, "key text: is a string, a number is expected");
  says([&] { file.find_string("flag"); }, "key flag: is a bool, a string is expected");
  says([&] { file.find_strings("ints"); }, "is an array of signed integers, an array of strings");
  says([&] { file.find_ints("reals"); }, "is an array of floats, an array of integers below 2^63");
  says([&] { file.find_ints("large"); }, "holds 9223372036854775808, an array of integers below");
  says([&] { file.find_floats("texts"); }, "is an array of strings, an array of numbers is");
  says([&] { file.get_uint("absent"); }, "key absent: is missing, an integer is expected");
  says([&] { file.get_string("absent"); }, "key absent: is missing, a string is expected");
  says([&] { file.tensor("absent\n"); }, "tensor absent\\x0a is missing");
}

// Numbers as the gguf package for Python, version 0.19.0, prints them for this file.
TEST_CASE("gguf: a real model is read as another reader reads it" * doctest::test_suite("model")) {
  const ModelFile file = ModelFile::open(real_model());
  CHECK(file.metadata().size() == 33);
  REQUIRE(file.tensors().size() == 272);
  const TensorInfo& first = file.tensor("token_embd.weight");
  CHECK(first.type == DType::kQ8_0);
  CHECK(first.shape == std::vector<std::size_t>{49152, 576});
  CHECK(first.begin_bytes == 1785664);
  CHECK(first.size_bytes == 30081024);
  const TensorInfo& middle = file.tensor("blk.9.attn_v.weight");
  CHECK(middle.type == DType::kQ4_1);
  CHECK(middle.shape == std::vector<std::size_t>{192, 576});
  CHECK(middle.begin_bytes == 98291008);
  CHECK(file.tensor("output_norm.weight").begin_bytes == 98360128);
  CHECK(file.get_string("tokenizer.ggml.pre") == "smollm");
  CHECK(file.find_strings("tokenizer.ggml.tokens")->size() == 49152);
  CHECK(file.find_strings("tokenizer.ggml.merges")->size() == 48900);
  CHECK(file.find_ints("tokenizer.ggml.token_type")->size() == 49152);
  CHECK(file.find_float("llama.attention.layer_norm_rms_epsilon") == 9.999999747378752e-06);
  CHECK(file.find_bool("tokenizer.ggml.add_bos_token") == false);
}

TEST_CASE("gguf: a vocabulary of 49 thousand tokens is read in a moment" *
          doctest::test_suite("slow")) {
  (void)ModelFile::open(real_model());  // so that the page cache is warm
  const auto start = std::chrono::steady_clock::now();
  (void)ModelFile::open(real_model());
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  CHECK(seconds.count() < 0.03);
}

}  // namespace sluice
