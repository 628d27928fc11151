#include "memory/gguf_writer.h"

#include <doctest/doctest.h>

#include "memory/model_file.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/memory_file.h"

using namespace sluice;

TEST_CASE("gguf writer: a header is byte for byte what the tests' own writer makes of it") {
  const std::vector<std::string> words = {"a", "", "bc"};
  const std::vector<std::int32_t> numbers = {-1, 2};
  const std::vector<std::size_t> matrix = {3, 64};
  const std::vector<std::size_t> vector = {5};
  GgufHeaderWriter header;
  header.add("k.text", std::string_view("value"));
  header.add("k.size", std::uint32_t{7});
  header.add("k.float", 1.5f);
  header.add("k.flag", true);
  header.add("k.words", words);
  header.add("k.numbers", numbers);
  header.add_tensor("m", DType::kQ4_0, matrix);
  header.add_tensor("v", DType::kF32, vector);

  const std::string matrix_bytes(3 * 36, 'm');
  const std::string vector_bytes(5 * 4, 'v');
  testing::GgufWriter expected;
  expected.add("k.text", std::string_view("value")).add("k.size", std::uint32_t{7});
  expected.add("k.float", 1.5f).add("k.flag", true).add("k.words", words);
  expected.add("k.numbers", numbers);
  expected.add_tensor("m", DType::kQ4_0, matrix, std::as_bytes(std::span(matrix_bytes)));
  expected.add_tensor("v", DType::kF32, vector, std::as_bytes(std::span(vector_bytes)));

  const std::string written = header.bytes() + matrix_bytes + std::string(20, '\0') + vector_bytes;
  CHECK(written == expected.bytes().substr(0, written.size()));
  CHECK(header.data_bytes() == 128 + 32);
}
