#include "offload/disk_probe.h"

#include <algorithm>
#include <cerrno>

#include "memory/clock.h"
#include "memory/direct_file.h"
#include "memory/disk_reader.h"
#include "memory/host_store.h"
#include "memory/read_queue.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr std::size_t kProbeBytes = 128_MiB;
constexpr std::size_t kReadBytes = DiskReader::kReadBytes;
constexpr std::size_t kSmallBytes = DirectFile::kAlignBytes;
constexpr std::size_t kSmallReads = 4;
constexpr std::size_t kInFlight = DiskReader::kThreads * DiskReader::kDepth;

class DiskProbe {
 public:
  explicit DiskProbe(const MappedFile& file)
      : file_(file), direct_(file), memory_(kInFlight * kReadBytes) {}

  // Seconds of reading `count` runs of `bytes`, one behind the other from `begin` on.
  double seconds(std::size_t begin, std::size_t bytes, std::size_t count, std::size_t in_flight) {
    if (!direct_.past_cache()) file_.forget(begin, bytes * count);
    const double start = now_seconds();
    for (std::size_t i = 0; i < count + in_flight; ++i) {
      if (i >= in_flight && i - in_flight < count) check(begin, bytes);
      if (i >= count) continue;
      queue_->submit({direct_.descriptor(), begin + i * bytes,
                      memory_.data() + i % kInFlight * kReadBytes, bytes},
                     i);
    }
    return now_seconds() - start;
  }

 private:
  // What can't be read directly is read as the disk tier would.
  void check(std::size_t begin, std::size_t bytes) {
    const ReadQueue::Done done = queue_->wait();
    if (done.result > 0) return;
    file_.check_read(begin + done.tag * bytes,
                     {memory_.data() + done.tag % kInFlight * kReadBytes, bytes});
  }

  const MappedFile& file_;
  DirectFile direct_;
  HostStore memory_;
  std::unique_ptr<ReadQueue> queue_ = ReadQueue::make(kInFlight);
};

}  // namespace

double disk_bytes_per_second(const MappedFile& file, std::size_t in_flight, double most_seconds) {
  DiskProbe probe(file);
  const std::size_t reads = file.bytes().size() / kReadBytes;
  const std::size_t few = std::min(reads, kInFlight);
  double seconds = probe.seconds(0, kReadBytes, few, in_flight);
  const double more = static_cast<double>(few) * most_seconds / seconds;
  const std::size_t count = std::min(reads, static_cast<std::size_t>(more));
  if (count > few) seconds = probe.seconds(0, kReadBytes, count, in_flight);
  return static_cast<double>(std::max(count, few) * kReadBytes) / seconds;
}

LinkSpeed probe_disk(const ModelFile& file) {
  const auto largest = std::ranges::max_element(file.tensors(), {},
                                                [](const TensorInfo& t) { return t.size_bytes; });
  const MappedFile& part = file.file(largest->file);
  const std::size_t file_bytes = part.bytes().size();
  DiskProbe probe(part);
  const std::size_t reads = std::min(kProbeBytes, file_bytes) / kReadBytes;
  const std::size_t last = file_bytes / kSmallBytes / 2 * kSmallBytes;
  LinkSpeed disk;
  for (std::size_t i = 0; i < kSmallReads; ++i) {
    const double seconds =
        probe.seconds(last / kSmallReads / kSmallBytes * i * kSmallBytes, kSmallBytes, 1, 1);
    disk.latency_seconds = i == 0 ? seconds : std::min(disk.latency_seconds, seconds);
  }
  // A file as small as that is no matter of rates.
  if (reads == 0) return disk;
  // A disk that is rationed gives the first moments for free.
  const std::size_t half = (reads + 1) / 2;
  probe.seconds(0, kReadBytes, reads - half, kInFlight);
  disk.bytes_per_second = static_cast<double>(half * kReadBytes) /
                          probe.seconds((reads - half) * kReadBytes, kReadBytes, half, kInFlight);
  return disk;
}

}  // namespace sluice
