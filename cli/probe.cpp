#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <iostream>

#include "cli/commands.h"
#include "cli/format.h"
#include "cli/machine_load.h"
#include "cli/output_file.h"
#include "cli/probe_cache.h"
#include "cli/progress.h"
#include "cli/user_folders.h"
#include "layers/gpu.h"
#include "memory/clock.h"
#include "memory/device_sim.h"
#include "memory/error.h"
#include "memory/host_store.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr std::size_t kFileBytes = 256_MiB;  // of the temporary file
// Of a GPU's memory, what is left to the driver, which loads code meanwhile.
constexpr std::size_t kDriverBytes = 128_MiB;

std::size_t free_disk_bytes(const std::filesystem::path& folder) {
  struct statvfs info {};
  if (statvfs(folder.c_str(), &info) != 0) return 0;
  return static_cast<std::size_t>(info.f_bavail) * static_cast<std::size_t>(info.f_frsize);
}

// A file to be read, gone when this goes.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::filesystem::path& folder) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    std::string name = (folder / "probe-XXXXXX").native();
    const int file = error ? -1 : ::mkostemp(name.data(), O_CLOEXEC);
    if (file < 0) {
      throw Error(ErrorKind::kIo,
                  text("can't write to the cache folder ", folder.native(), ": ",
                       error ? error.message() : std::strerror(errno),
                       "; set XDG_CACHE_HOME to another, or give a file with --file"));
    }
    path_ = name;
    const std::string block(1_MiB, '\x5a');
    for (std::size_t at = 0; at < kFileBytes; at += block.size()) {
      if (::write(file, block.data(), block.size()) != static_cast<ssize_t>(block.size())) {
        const int write_error = errno;
        ::close(file);
        ::unlink(path_.c_str());
        throw Error(ErrorKind::kIo, text(path_.native(), ": ", std::strerror(write_error),
                                         "; give a file with --file"));
      }
    }
    ::fsync(file);
    ::close(file);
  }
  ~TemporaryFile() { ::unlink(path_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

MachineProbe measure(const ProbeOptions& options, const MachineKey& machine, Gpu* gpu) {
  ProgressBar bar("measuring", false, options.quiet);
  const std::size_t steps = kComputeSteps + (gpu == nullptr ? 5 : 5 + kDeviceSteps);
  std::size_t done = 0;
  const auto step = [&] { bar.update(++done, steps); };
  const MachineLoad load;
  const double begin = now_seconds();
  MachineProbe p;
  p.machine = machine;
  p.taken_at = std::chrono::duration_cast<std::chrono::seconds>(
                   std::chrono::system_clock::now().time_since_epoch())
                   .count();
  p.free_host_bytes = available_memory_bytes().value_or(0);
  if (gpu != nullptr) p.free_device_bytes = gpu->free_bytes();
  {  // first, for it is what may be refused
    std::optional<TemporaryFile> temporary;
    std::filesystem::path file = options.file;
    if (file.empty()) file = temporary.emplace(cache_folder()).path();
    p.free_disk_bytes = free_disk_bytes(file);
    measure_disk(file, p.rates);
  }
  step();
  const double speed = sample_speed();
  step();
  {
    DeviceSim sim({.limit_bytes = kLinkBytes});
    Device& device = gpu != nullptr ? gpu->device() : sim;
    const bool computes = gpu != nullptr && p.free_device_bytes >= kDeviceProbeBytes + kDriverBytes;
    std::byte* there = device.reserve(computes ? kDeviceProbeBytes : kLinkBytes);
    if (gpu == nullptr) std::memset(there, 1, kLinkBytes);
    measure_link(device, true, there, p.rates);
    if (gpu != nullptr) measure_link(device, false, there, p.rates);
    if (computes) p.rates.gpu = measure_device(device, gpu->ops(), there, step);
  }
  step();
  p.rates.host_read = measure_host_read(machine.cores);
  step();
  measure_host_compute(p.rates, step);
  p.drift = std::abs(sample_speed() / speed - 1.0);
  p.others_share = load.others_share();
  p.seconds = now_seconds() - begin;
  step();
  return p;
}

std::string print_compute(const char* where, const std::array<ComputeRates, 2>& rates) {
  std::string out;
  for (const Precision precision : {Precision::kNormal, Precision::kHigh}) {
    const ComputeRates& r = rates[index_of(precision)];
    out += text(where, " products, ", precision_name(precision),
                " precision: GB of weights a second, by tokens of a pass\n        ");
    for (const std::size_t tokens : ProductRate::kTokens) out += format(" %7zu", tokens);
    out += "\n";
    for (const DType type : kAllDTypes) {
      const ProductRate& rate = r.products[static_cast<std::size_t>(type)];
      if (!rate.known()) continue;
      out += format("  %-6s", dtype_info(type).name.data());
      for (const double s : rate.seconds_per_byte) out += format(" %7.2f", 1e-9 / s);
      out += "\n";
    }
    out += format("  attention: %.0f billion operations/s of one token a sequence, %.0f of many\n",
                  r.attention_one_token_operations_per_second * 1e-9,
                  r.attention_operations_per_second * 1e-9);
    const AttentionShares& q8_0 = r.attention_shares[static_cast<std::size_t>(KvType::kQ8_0)];
    out += format("  with keys and values of q8_0 %.2f and %.2f times as many as of f16\n",
                  q8_0.one_token, q8_0.many);
  }
  return out;
}

std::string print_probe(const MachineProbe& p) {
  std::string out = text("machine  ", p.machine.processor, ", ", p.machine.cores, " cores, ",
                         print_bytes(p.machine.memory_bytes), " of memory",
                         p.machine.gpu.empty() ? "" : text(", ", p.machine.gpu), "\n");
  const std::int64_t now = std::chrono::duration_cast<std::chrono::seconds>(
                               std::chrono::system_clock::now().time_since_epoch())
                               .count();
  out += format(
      "taken    %.1f hours ago, in %.1f s; other processes took %.0f %% of it, the speed "
      "changed by %.0f %%\n",
      static_cast<double>(std::max<std::int64_t>(now - p.taken_at, 0)) / 3600.0, p.seconds,
      100.0 * p.others_share, 100.0 * p.drift);
  if (p.under_load()) {
    out +=
        "         under load: the machine can do more; run sluice probe --fresh when it is idle\n";
  }
  out += text("free     host ", print_bytes(p.free_host_bytes), ", disk ",
              print_bytes(p.free_disk_bytes));
  if (p.free_device_bytes > 0) out += text(", device ", print_bytes(p.free_device_bytes));
  out += text("\nlink     ", p.machine.gpu.empty() ? "a memory copy, as sim's without --link" : "",
              format("; one byte takes %.1f us\n", p.rates.link_latency_seconds * 1e6));
  for (const LinkSample& s : p.rates.link) {
    out +=
        format("  %10s %s  to device %10s  to host %10s\n", print_bytes(s.bytes).c_str(),
               s.pinned ? "pinned  " : "pageable", print_rate(s.to_device_bytes_per_second).c_str(),
               print_rate(s.to_host_bytes_per_second).c_str());
  }
  out += "host memory, read\n";
  for (const ThreadSample& s : p.rates.host_read) {
    out += format("  %3zu threads  %10s\n", s.threads, print_rate(s.bytes_per_second).c_str());
  }
  out += p.rates.disk_direct ? "disk, read directly\n" : "disk, read through the system's cache\n";
  for (const ThreadSample& s : p.rates.disk) {
    out += format("  %3zu at once  %10s\n", s.threads, print_rate(s.bytes_per_second).c_str());
  }
  out += print_compute("host", p.rates.host);
  if (p.rates.gpu) {
    out += print_compute("GPU", p.rates.gpu->compute);
    out += format("  it is told of more work %.1f us after it has ended some\n",
                  p.rates.gpu->turn_seconds * 1e6);
  } else if (!p.machine.gpu.empty()) {
    out += text("GPU products: not measured, that takes ",
                print_bytes(kDeviceProbeBytes + kDriverBytes), " of free memory\n");
  }
  return out;
}

}  // namespace

int probe_command(const ProbeOptions& options) {
  std::unique_ptr<Gpu> gpu;
  if (built_with_gpu()) {
    try {
      gpu = open_gpu(options.gpu);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kDevice) throw;
      std::cerr << "going on without a GPU: " << error.what() << '\n';
    }
  }
  const MachineKey machine = this_machine(gpu == nullptr ? "" : gpu->model());
  std::string why;
  std::optional<MachineProbe> probe;
  if (!options.fresh && options.file.empty()) probe = read_cached(machine, why);
  if (!why.empty()) std::cerr << why << "; measuring anew\n";
  if (!probe) {
    probe = measure(options, machine, gpu.get());
    write_cached(*probe);
  }
  if (!options.json_file.empty()) write_file(options.json_file, probe_json(*probe));
  std::cout << print_probe(*probe);
  return 0;
}

}  // namespace sluice
