#include "memory/mapped_file.h"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <utility>

#include "memory/units.h"
#include "tests/support/expect_error.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/temporary_folder.h"

namespace sluice {

using testing::failure_of;
using testing::TemporaryFolder;
using testing::write_file;

namespace {

std::string_view chars(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

// Pages of [begin, begin + size) that are in this process's memory.
std::size_t resident_bytes(const MappedFile& file) {
  const auto begin = reinterpret_cast<std::uintptr_t>(file.bytes().data());
  std::FILE* maps = std::fopen("/proc/self/smaps", "r");
  REQUIRE(maps != nullptr);
  char line[512];
  bool is_ours = false;
  std::size_t resident_kib = 0;
  while (std::fgets(line, sizeof line, maps) != nullptr) {
    std::uintptr_t from = 0;
    std::uintptr_t to = 0;
    if (std::sscanf(line, "%lx-%lx ", &from, &to) == 2) is_ours = from == begin;
    if (is_ours) std::sscanf(line, "Rss: %zu kB", &resident_kib);
  }
  std::fclose(maps);
  return resident_kib << 10;
}

}  // namespace

TEST_CASE("mapped file: its bytes are the file's, and stay when it is moved") {
  TemporaryFolder folder;
  write_file(folder / "a", "first file");
  write_file(folder / "b", "second");
  MappedFile a(folder / "a");
  CHECK(chars(a) == "first file");
  CHECK(a.path() == folder / "a");
  const std::byte* data = a.bytes().data();
  MappedFile moved(std::move(a));
  CHECK(moved.bytes().data() == data);
  CHECK(chars(moved) == "first file");
  MappedFile b(folder / "b");
  b = std::move(moved);
  CHECK(chars(b) == "first file");
  CHECK(b.path() == folder / "a");
  std::filesystem::remove(folder / "a");
  CHECK(chars(b) == "first file");
}

TEST_CASE("mapped file: what isn't a regular file is refused at once, and said to be what it is") {
  TemporaryFolder folder;
  const auto refused = [&](const std::filesystem::path& path, const std::string& wanted,
                           ErrorKind kind = ErrorKind::kIo) {
    const auto failure = failure_of([&] { MappedFile file(path); });
    CAPTURE(failure.message);
    CHECK(failure.kind == kind);
    CHECK(failure.says(path.native()));
    CHECK(failure.says(wanted));
  };
  refused(folder.path(), "is a folder");
  refused(folder / "absent", "cannot open: No such file or directory");
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  refused(folder / "fifo", "is a FIFO");
  refused("/dev/null", "is a device");
  write_file(folder / "empty", "");
  refused(folder / "empty", "is empty", ErrorKind::kBadFile);
  std::filesystem::create_symlink("loop", folder / "loop");
  refused(folder / "loop", "cannot open");
  std::filesystem::create_symlink("fifo", folder / "link");
  refused(folder / "link", "is a FIFO");
  refused(std::filesystem::path("/proc/self/maps"), "is empty", ErrorKind::kBadFile);
}

TEST_CASE("mapped file: a file that may not be read is refused") {
  TemporaryFolder folder;
  write_file(folder / "secret", "secret");
  std::filesystem::permissions(folder / "secret", std::filesystem::perms::none);
  const uid_t user = ::geteuid();
  if (user == 0 && ::seteuid(65534) != 0) {  // root may read anything
    MESSAGE("skipped: running as root, which can't become another user here");
    return;
  }
  const auto failure = failure_of([&] { MappedFile file(folder / "secret"); });
  if (user == 0) REQUIRE(::seteuid(user) == 0);
  CHECK(failure.kind == ErrorKind::kIo);
  CHECK(failure.says("cannot open: Permission denied"));
}

TEST_CASE("mapped file: done_with gives back whole pages and no neighbour's") {
  TemporaryFolder folder;
  const std::string bytes(64 * 4096 + 100, 'x');
  write_file(folder / "large", bytes);
  const MappedFile file(folder / "large");
  const auto touch = [&] { CHECK(chars(file) == bytes); };
  touch();
  const std::size_t all = resident_bytes(file);
  CHECK(all == 65 * 4096);
  file.done_with(4096 * 10 + 1, 4096 * 3);  // touches four pages, covers two
  CHECK(resident_bytes(file) == all - 2 * 4096);
  touch();
  file.done_with(4096 * 64, 100);  // the last page is whole for it ends the file
  CHECK(resident_bytes(file) == all - 4096);
  touch();
  file.done_with(0, ~std::size_t{0});
  CHECK(resident_bytes(file) == 0);
  file.done_with(bytes.size() + 5, 10);
  file.will_need(~std::size_t{0}, ~std::size_t{0});
  file.will_need(5, 100'000);
  touch();
}

}  // namespace sluice
