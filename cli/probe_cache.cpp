#include "cli/probe_cache.h"

#include <sched.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "cli/bench_report.h"
#include "cli/output_file.h"
#include "cli/user_folders.h"
#include "memory/error.h"
#include "memory/printable.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr std::size_t kMostCacheFileBytes = 1_MiB;

}  // namespace

MachineKey this_machine(const std::string& gpu) {
  const BenchMachine bench = describe_machine();
  cpu_set_t usable;
  CPU_ZERO(&usable);
  const bool known = sched_getaffinity(0, sizeof usable, &usable) == 0;
  return {.processor = printable(bench.processor),
          .cores = known ? static_cast<std::size_t>(CPU_COUNT(&usable)) : bench.threads,
          .memory_bytes = static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) *
                          static_cast<std::size_t>(sysconf(_SC_PAGESIZE)),
          .gpu = printable(gpu),
          .version = SLUICE_VERSION};
}

std::filesystem::path cache_path(const MachineKey& machine) {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  const std::string all = text(machine.processor, "\n", machine.cores, "\n", machine.memory_bytes,
                               "\n", machine.gpu, "\n", machine.version);
  for (const char c : all) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  std::array<char, 32> file{};
  std::snprintf(file.data(), file.size(), "probe-%016llx.json",
                static_cast<unsigned long long>(hash));
  return cache_folder() / file.data();
}

std::optional<MachineProbe> read_cached(const MachineKey& machine, std::string& why) {
  std::filesystem::path path;
  try {
    path = cache_path(machine);
  } catch (const Error&) {  // told when there is something to be written
    return {};
  }
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return {};
  std::ifstream in(path, std::ios::binary);
  std::string content(kMostCacheFileBytes, '\0');
  in.read(content.data(), static_cast<std::streamsize>(content.size()));
  content.resize(static_cast<std::size_t>(in.gcount()));
  try {
    MachineProbe probe = parse_probe(content);
    if (probe.machine == machine) return probe;
    why = text(path.native(), " is of another machine");
  } catch (const Error& bad) {
    why = text(path.native(), " can't be used, ", bad.what());
  }
  return {};
}

void write_cached(const MachineProbe& probe) {
  const std::filesystem::path path = cache_path(probe.machine);
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  if (error) {
    throw Error(ErrorKind::kIo, text("can't make the cache folder ", path.parent_path().native(),
                                     ": ", error.message(), "; set XDG_CACHE_HOME to another"));
  }
  write_file(path.native(), probe_json(probe));
}

}  // namespace sluice
