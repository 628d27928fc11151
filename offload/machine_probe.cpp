#include "offload/machine_probe.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

#include "layers/products_isa.h"
#include "memory/clock.h"
#include "memory/direct_file.h"
#include "memory/error.h"
#include "memory/host_store.h"
#include "memory/units.h"
#include "offload/disk_probe.h"
#include "offload/probe.h"

namespace sluice {
namespace {

constexpr std::size_t kLinkSizes[] = {64_KiB, 256_KiB, 1_MiB, 4_MiB, 16_MiB, kLinkBytes};
constexpr std::size_t kDiskInFlight[] = {1, 2, 4, 8, 16};
constexpr std::size_t kLeastFileBytes = 1_MiB;
constexpr double kRestSeconds = 5e-6;  // laying out a token, between two passes
constexpr double kDiskSeconds = 0.5;   // of each of these, at most
constexpr std::size_t kReadThroughBytes = 256_MiB;

// As a model of a billion weights has it. Its widths are multiples of every type's groups.
ModelConfig usual_config() {
  ModelConfig c;
  c.layers = 22;
  c.width = 2048;
  c.feed_forward = 5632;
  c.heads = 32;
  c.kv_heads = 8;
  c.head_dim = 64;
  c.rope_dims = 64;
  return c;
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
  HostStore memory(kReadThroughBytes);
  std::memset(memory.data(), 1, kReadThroughBytes);
  const auto read = product_peaks().read;
  std::vector<ThreadSample> samples;
  std::atomic<float> sink{0.0f};
  for (std::size_t threads = 1;; threads = std::min(2 * threads, most_threads)) {
    const std::size_t part = kReadThroughBytes / threads / 1_MiB * 1_MiB;
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
    ProbeLayer layer(config, precision, ProbeLayer::kMostWeightBytes);
    ComputeRates& rates = table.host[index_of(precision)];
    LayerSecondsTable layers{};
    for (const DType type : kAllDTypes) {
      rates.products[static_cast<std::size_t>(type)] =
          probe_products(layer, type, type == DType::kQ4_0 ? &layers : nullptr);
      on_done();
    }
    probe_between(layer, DType::kQ4_0, config, layers, rates);
    probe_cuts(layer, DType::kQ4_0, rates);
    const CopyRates copies = probe_copies(layer, DType::kQ4_0);
    rates.share_beside_copies = copies.share;
    if (precision == Precision::kHigh) {
      rates.attention_shares = table.host[index_of(Precision::kNormal)].attention_shares;
      continue;
    }
    table.copy_bytes_per_second = copies.bytes_per_second;
    table.pass_seconds = probe_pass_seconds(layer, DType::kQ4_0, kRestSeconds);
    table.wait_seconds = probe_wait_seconds(layer, DType::kQ4_0);
    table.logit_seconds = probe_logit_seconds();
    for (const KvType kv : kAllKvTypes) {
      rates.attention_shares[static_cast<std::size_t>(kv)] =
          probe_attention_shares(layer, DType::kQ4_0, kv);
    }
  }
}

void measure_disk(const std::filesystem::path& path, MachineRatesTable& table) {
  const MappedFile file(path);
  const std::size_t size = file.bytes().size();
  if (size < kLeastFileBytes) {
    throw Error(ErrorKind::kIo, text(path.native(), ": has ", size,
                                     " bytes, which is too little to measure a disk by; give ",
                                     print_bytes(kLeastFileBytes), " or more"));
  }
  table.disk_direct = DirectFile(file).past_cache();
  table.disk.clear();
  for (const std::size_t in_flight : kDiskInFlight) {
    table.disk.push_back({in_flight, disk_bytes_per_second(file, in_flight, kDiskSeconds)});
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
  const LinkSample* largest = nullptr;
  for (const LinkSample& sample : table.link) {
    if (sample.pinned && sample.bytes <= 4_MiB) largest = &sample;
  }
  if (largest == nullptr) return {};
  hardware.copy_bytes_per_second = table.copy_bytes_per_second;
  if (link.bytes_per_second <= 0.0) {
    hardware.to_device = {largest->to_device_bytes_per_second, table.link_latency_seconds};
    hardware.to_host = {largest->to_host_bytes_per_second, table.link_latency_seconds};
  }
  hardware.wait_seconds = table.wait_seconds;
  hardware.pass_seconds = table.pass_seconds;
  hardware.token_seconds = probe_token_seconds(model);
  hardware.logit_seconds = table.logit_seconds;
  hardware.device_from = RatesFrom::kProbe;
  return hardware;
}

Hardware with_gpu(const DeviceRates& gpu, Precision precision, Hardware hardware) {
  hardware.device = gpu.compute[index_of(precision)];
  hardware.copy_bytes_per_second = 0.0;  // it copies by itself
  hardware.wait_seconds = 0.0;
  hardware.turn_seconds = gpu.turn_seconds;
  hardware.pass_seconds = gpu.turn_seconds;
  return hardware;
}

}  // namespace sluice
