#include "memory/host_store.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "memory/device_sim.h"
#include "memory/units.h"
#include "tests/support/expect_error.h"

using namespace sluice;

TEST_CASE("host store: the kernel's lists of numbers are read, and nothing else") {
  CHECK(parse_bit_list("0") == 1);
  CHECK(parse_bit_list("0-1,3") == 0b1011);
  CHECK(parse_bit_list("2,63") == (4ULL | 1ULL << 63));
  for (const char* bad : {"", "x", "1-", "-1", "3-1", "64", "0-64", "0,x", "0 1", "99999999999"}) {
    CAPTURE(bad);
    CHECK(parse_bit_list(bad) == 0);
  }
}

TEST_CASE("host store: gives zeroed pages") {
  HostStore store(3_MiB + 5);
  CHECK(store.size_bytes() == 3_MiB + 5);
  for (std::size_t i = 0; i < store.size_bytes(); i += 4096) CHECK(store.data()[i] == std::byte{0});
  std::memset(store.data(), 1, store.size_bytes());
  HostStore nothing(0);
  CHECK(nothing.data() == nullptr);
  DeviceSim device({});
  CHECK(nothing.pin(device).empty());
}

TEST_CASE("host store: begins where a huge page does") {
  for (const std::size_t bytes : {std::size_t{1}, 2_MiB - 1, 2_MiB, 3_MiB + 5, 9_MiB + 4096}) {
    CAPTURE(bytes);
    HostStore store(bytes);
    HostStore next(bytes);
    CHECK(reinterpret_cast<std::uintptr_t>(store.data()) % 2_MiB == 0);
    CHECK(reinterpret_cast<std::uintptr_t>(next.data()) % 2_MiB == 0);
    std::memset(store.data(), 1, bytes);
    std::memset(next.data(), 2, bytes);
    CHECK(store.data()[bytes - 1] == std::byte{1});
  }
}

TEST_CASE("host store: memory that the system hasn't got is one clear error") {
  const testing::Failure failure = testing::failure_of([] { HostStore(std::size_t{1} << 60); });
  CHECK(failure.kind == ErrorKind::kIo);
  CHECK(failure.says("host memory"));
}

// In a child without root's right to lock as it likes.
TEST_CASE("host store: goes on unlocked on sim, and says which limit to raise and how") {
  const pid_t child = fork();
  if (child == 0) {
    const rlimit limit{64 << 10, 64 << 10};
    setrlimit(RLIMIT_MEMLOCK, &limit);
    if (geteuid() == 0 && setuid(65534) != 0) _exit(2);
    DeviceSim device({});
    HostStore store(1_MiB);
    const std::string warning = store.pin(device);
    std::memset(store.data(), 1, store.size_bytes());
    const bool told = warning.find("64.0 KiB") != std::string::npos &&
                      warning.find("ulimit -l 1024") != std::string::npos;
    _exit(told ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
