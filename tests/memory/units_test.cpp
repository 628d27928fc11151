#include "memory/units.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "tests/support/expect_error.h"

namespace sluice {

using testing::failure_of;

TEST_CASE("units: bytes are printed with three digits and the unit that suits them") {
  CHECK(print_bytes(0) == "0 B");
  CHECK(print_bytes(512) == "512 B");
  CHECK(print_bytes(1023) == "1023 B");
  CHECK(print_bytes(1024) == "1.00 KiB");
  CHECK(print_bytes(96_MiB) == "96.0 MiB");
  CHECK(print_bytes(1_GiB + 512_MiB) == "1.50 GiB");
  CHECK(print_bytes(1000_MiB) == "1000 MiB");
  CHECK(print_bytes(9_MiB + 1020_KiB) == "10.0 MiB");
  CHECK(print_bytes(99_MiB + 1000_KiB) == "100 MiB");
  CHECK(print_bytes(1_MiB - 1) == "1.00 MiB");
  CHECK(print_bytes(1_GiB - 1_KiB) == "1.00 GiB");
  CHECK(print_bytes(~std::uint64_t{0}) == "16.0 EiB");
}

TEST_CASE("units: rates are printed in decimal units") {
  CHECK(print_rate(0.0) == "0 B/s");
  CHECK(print_rate(999.0) == "999 B/s");
  CHECK(print_rate(1000.0) == "1.00 kB/s");
  CHECK(print_rate(12.34e9) == "12.3 GB/s");
  CHECK(print_rate(999.7e6) == "1.00 GB/s");
  CHECK(print_rate(1e300) != "");
  CHECK(print_rate(-1.0) == "unknown rate");
  CHECK(print_rate(std::nan("")) == "unknown rate");
  CHECK(print_rate(std::numeric_limits<double>::infinity()) == "unknown rate");
}

TEST_CASE("units: sizes are read to the byte") {
  CHECK(parse_bytes("2048", "--vram") == 2048);
  CHECK(parse_bytes("0", "--vram") == 0);
  CHECK(parse_bytes("96MiB", "--vram") == 96_MiB);
  CHECK(parse_bytes("96 mib", "--vram") == 96_MiB);
  CHECK(parse_bytes("1.5GiB", "--vram") == 1536_MiB);
  CHECK(parse_bytes("24GB", "--vram") == 24'000'000'000);
  CHECK(parse_bytes("0.29kB", "--vram") == 290);
  CHECK(parse_bytes("0.035kB", "--vram") == 35);  // not what is left of it in binary
  CHECK(parse_bytes("0.1GB", "--vram") == 100'000'000);
  CHECK(parse_bytes("7B", "--vram") == 7);
  CHECK(parse_bytes("2TiB", "--vram") == 2048_GiB);
  CHECK(parse_bytes("18446744073709551615", "--vram") == ~std::size_t{0});
  CHECK(parse_bytes("0.99999999999999999999999KiB", "--vram") == 1024);
}

TEST_CASE("units: a size that isn't one is refused, naming the option") {
  for (const std::string bad :
       {"",     " ",      "MiB",    "-5MiB",   "+5MiB", "nan",   "inf",    "1e9",
        "0x10", "1.MiB",  ".5MiB",  "1..5MiB", "5MiB ", " 5MiB", "5  MiB", "5M",
        "5K",   "5 quux", "1,5GiB", "5MiB\n",  "5MiB5", "50%"}) {
    CAPTURE(bad);
    const auto failure = failure_of([&] { parse_bytes(bad, "--vram"); });
    CHECK(failure.kind == ErrorKind::kUsage);
    CHECK(failure.says("--vram: \""));
    CHECK(failure.says("say for example 96MiB"));
  }
  for (const std::string large : {"18446744073709551616", "16777216TiB", "99999999999999999999GB",
                                  "18446744073709551615.9KiB", "18014398509481983.9999KiB"}) {
    CAPTURE(large);
    CHECK(failure_of([&] { parse_bytes(large, "--vram"); }).says("below 16 EiB"));
  }
  CHECK(failure_of([&] { parse_bytes("1.5", "--vram"); }).says("a whole number of bytes"));
  CHECK(failure_of([&] { parse_bytes("1.5B", "--vram"); }).says("a whole number of bytes"));
}

TEST_CASE("units: what is printed is read back to three digits") {
  std::mt19937_64 random(3);
  for (int i = 0; i < 2000; ++i) {
    const std::uint64_t bytes = random() >> (random() % 50 + 10);
    const std::string printed = print_bytes(bytes);
    if (printed.find("PiB") != std::string::npos) continue;
    CAPTURE(printed);
    const auto back = static_cast<double>(parse_bytes(printed, "test"));
    CHECK(back == doctest::Approx(static_cast<double>(bytes)).epsilon(0.0051));
  }
}

TEST_CASE("units: rates are read, and refused if they aren't rates") {
  CHECK(parse_rate("16GB/s", "--link") == 16e9);
  CHECK(parse_rate("1.5GiB/s", "--link") == 1.5 * 1024 * 1024 * 1024);
  CHECK(parse_rate("500 MB/s", "--link") == 500e6);
  CHECK(parse_operations("1.5TFLOP/s", "--device-flops") == 1.5e12);
  CHECK(parse_operations("20 gflop/s", "--device-flops") == 20e9);
  for (const char* bad : {"", "5", "5G", "5GB/s", "5GiFLOP/s", "0FLOP/s", "-1GFLOP/s", "FLOP/s"}) {
    CAPTURE(bad);
    CHECK(failure_of([&] { parse_operations(bad, "--device-flops"); }).kind == ErrorKind::kUsage);
  }
  for (const std::string bad : {"", "/s", "16", "16GB", "16/s", "0MB/s", "-1GB/s", "nan/s",
                                "infGB/s", "99999999999999TiB/s", "16GB/m"}) {
    CAPTURE(bad);
    const auto failure = failure_of([&] { parse_rate(bad, "--link"); });
    CHECK(failure.kind == ErrorKind::kUsage);
    CHECK(failure.says("--link: \""));
  }
}

}  // namespace sluice
