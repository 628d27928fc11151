#include "offload/machine_probe.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>

#include "layers/products_isa.h"
#include "memory/clock.h"
#include "memory/error.h"
#include "memory/host_store.h"
#include "memory/units.h"
#include "offload/probe.h"

namespace sluice {
namespace {

constexpr std::size_t kLinkSizes[] = {64_KiB, 256_KiB, 1_MiB, 4_MiB, 16_MiB, kLinkBytes};
constexpr std::size_t kDiskThreads[] = {1, 2, 4, 8};
constexpr std::size_t kDiskReadBytes = 1_MiB;
constexpr double kDiskSeconds = 0.5;  // of each number of threads, at most
constexpr std::size_t kReadBytes = 256_MiB;
constexpr std::size_t kDirectAlignBytes = 4096;

// As a model of a billion weights has it. Its widths are multiples of every type's groups.
ModelConfig usual_config() {
  ModelConfig c;
  c.width = 2048;
  c.feed_forward = 5632;
  c.heads = 32;
  c.kv_heads = 8;
  c.head_dim = 64;
  c.rope_dims = 64;
  return c;
}

class File {
 public:
  File(const std::filesystem::path& path, int flags)
      : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags)) {}
  ~File() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  File(const File&) = delete;
  int descriptor() const { return descriptor_; }

 private:
  int descriptor_;
};

[[noreturn]] void fail(const std::filesystem::path& path, const char* what, int error) {
  throw Error(ErrorKind::kIo, text(path.native(), ": ", what, ": ", std::strerror(error)));
}

// Bytes a second of threads that read a part of the file each, over and over.
double read_by(int descriptor, std::size_t size_bytes, std::size_t threads,
               const std::filesystem::path& path) {
  std::atomic<std::size_t> total{0};
  std::atomic<int> error{0};
  const std::size_t part = size_bytes / threads / kDiskReadBytes * kDiskReadBytes;
  const double begin = now_seconds();
  const auto work = [&](std::size_t thread) {
    const std::unique_ptr<void, decltype(&std::free)> buffer(
        std::aligned_alloc(kDirectAlignBytes, kDiskReadBytes), &std::free);
    for (std::size_t at = 0; at < part && now_seconds() < begin + kDiskSeconds;) {
      const ssize_t got =
          ::pread(descriptor, buffer.get(), kDiskReadBytes, static_cast<off_t>(thread * part + at));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) {
        error = got < 0 ? errno : EIO;
        return;
      }
      total += static_cast<std::size_t>(got);
      at += kDiskReadBytes;
    }
  };
  std::vector<std::thread> workers;
  for (std::size_t t = 0; t < threads; ++t) workers.emplace_back(work, t);
  for (std::thread& worker : workers) worker.join();
  if (error != 0) fail(path, "can't read", error);
  return static_cast<double>(total) / (now_seconds() - begin);
}

}  // namespace

void measure_link(Device& device, bool pinned, std::byte* there, MachineRatesTable& table) {
  HostStore here(kLinkBytes);
  std::memset(here.data(), 1, kLinkBytes);
  if (pinned) here.pin(device);
  const auto stream = device.make_stream("probe");
  const auto done = device.make_event();
  const auto seconds = [&](Direction direction, std::size_t bytes) {
    const bool up = direction == Direction::kToDevice;
    return best_seconds(bytes >= 16_MiB ? 3 : 7, [&] {
      device.copy(*stream, direction, up ? there : here.data(), up ? here.data() : there, bytes);
      stream->record(*done);
      done->synchronize();
    });
  };
  if (pinned) table.link_latency_seconds = seconds(Direction::kToDevice, 1);
  for (const std::size_t bytes : kLinkSizes) {
    const auto rate = [&](Direction d) { return static_cast<double>(bytes) / seconds(d, bytes); };
    table.link.push_back({bytes, pinned, rate(Direction::kToDevice), rate(Direction::kToHost)});
  }
}

std::vector<ThreadSample> measure_host_read(std::size_t most_threads) {
  HostStore memory(kReadBytes);
  std::memset(memory.data(), 1, kReadBytes);
  const auto read = product_peaks().read;
  std::vector<ThreadSample> samples;
  std::atomic<float> sink{0.0f};
  for (std::size_t threads = 1;; threads = std::min(2 * threads, most_threads)) {
    const std::size_t part = kReadBytes / threads / 1_MiB * 1_MiB;
    const double seconds = best_seconds(3, [&] {
      std::vector<std::thread> workers;
      for (std::size_t t = 0; t < threads; ++t) {
        workers.emplace_back([&, t] { sink = read(memory.data() + t * part, part); });
      }
      for (std::thread& worker : workers) worker.join();
    });
    samples.push_back({threads, static_cast<double>(part * threads) / seconds});
    if (threads == most_threads) return samples;
  }
}

void measure_host_compute(MachineRatesTable& table, const std::function<void()>& on_done) {
  const ModelConfig config = usual_config();
  for (const Precision precision : {Precision::kNormal, Precision::kHigh}) {
    ProbeLayer layer(config, precision, 80_MiB);
    ComputeRates& rates = table.host[index_of(precision)];
    probe_between(layer, DType::kQ4_0, config, rates);
    for (const DType type : kAllDTypes) {
      rates.products[static_cast<std::size_t>(type)] =
          probe_products(layer, type, rates.step_seconds);
      on_done();
    }
    rates.share_beside_copies = probe_copies(layer, DType::kQ4_0, {}).share;
    if (precision == Precision::kHigh) continue;
    table.turn_seconds = probe_turn_seconds(layer, DType::kQ4_0, true);
    table.pass_seconds = probe_turn_seconds(layer, DType::kQ4_0, false);
    table.wait_seconds = probe_wait_seconds(layer, DType::kQ4_0);
    table.logit_seconds = probe_logit_seconds();
  }
}

void measure_disk(const std::filesystem::path& path, MachineRatesTable& table) {
  auto file = std::make_unique<File>(path, O_DIRECT);
  table.disk_direct = file->descriptor() >= 0;
  if (!table.disk_direct) file = std::make_unique<File>(path, 0);
  if (file->descriptor() < 0) fail(path, "can't open", errno);
  struct stat info {};
  if (fstat(file->descriptor(), &info) != 0) fail(path, "can't read", errno);
  if (!S_ISREG(info.st_mode)) {
    throw Error(ErrorKind::kIo, text(path.native(), ": --file has to be a regular file"));
  }
  const auto size = static_cast<std::size_t>(info.st_size);
  if (size < kDiskReadBytes) {
    throw Error(ErrorKind::kIo, text(path.native(), ": has ", size,
                                     " bytes, which is too little to measure a disk by; give ",
                                     print_bytes(kDiskReadBytes), " or more"));
  }
  table.disk.clear();
  for (const std::size_t threads : kDiskThreads) {
    if (size / threads < kDiskReadBytes) break;
    if (!table.disk_direct) posix_fadvise(file->descriptor(), 0, 0, POSIX_FADV_DONTNEED);
    table.disk.push_back({threads, read_by(file->descriptor(), size, threads, path)});
  }
}

double sample_speed() {
  ProbeLayer layer(usual_config(), Precision::kNormal, 64_MiB);
  return 1.0 / layer.mean_seconds(DType::kQ4_0, {.tokens = 4}, 0.1);
}

std::optional<Hardware> hardware_of(const MachineRatesTable& table, const ModelLayout& model,
                                    Precision precision, LinkSpeed link) {
  Hardware hardware;
  hardware.device = table.host[index_of(precision)];
  for (const UnitInfo& unit : model.units) {
    for (const MatrixInfo& m : unit.matrices) {
      if (!hardware.device.products[static_cast<std::size_t>(m.type())].known()) return {};
    }
  }
  hardware.host = hardware.device;
  hardware.to_device = hardware.to_host = link;
  if (link.bytes_per_second <= 0.0) {
    const LinkSample* largest = nullptr;
    for (const LinkSample& sample : table.link) {
      if (sample.pinned && sample.bytes <= 4_MiB) largest = &sample;
    }
    if (largest == nullptr) return {};
    hardware.to_device = {largest->to_device_bytes_per_second, table.link_latency_seconds};
    hardware.to_host = {largest->to_host_bytes_per_second, table.link_latency_seconds};
  }
  hardware.turn_seconds = table.turn_seconds;
  hardware.wait_seconds = table.wait_seconds;
  hardware.pass_seconds = table.pass_seconds;
  hardware.token_seconds = probe_token_seconds(model);
  hardware.logit_seconds = table.logit_seconds;
  return hardware;
}

}  // namespace sluice
