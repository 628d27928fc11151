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

TEST_CASE("mapped file: reads by position, and says when the file became shorter") {
  TemporaryFolder folder;
  write_file(folder / "m", "0123456789");
  const MappedFile file(folder / "m");
  std::array<std::byte, 4> to{};
  const auto read = [&](std::size_t begin) {
    return file.try_read(begin, to) ? std::string(reinterpret_cast<char*>(to.data()), 4) : "failed";
  };
  CHECK(read(0) == "0123");
  CHECK(read(6) == "6789");
  CHECK(read(7) == "failed");
  CHECK(read(100) == "failed");
  std::filesystem::resize_file(folder / "m", 5);
  CHECK(read(1) == "1234");
  const testing::Failure failure = testing::failure_of([&] { file.check_read(6, to); });
  CHECK(failure.kind == ErrorKind::kIo);
  CHECK(failure.says("shorter"));
}

}  // namespace sluice
