#include "offload/loader.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <span>
#include <vector>

#include "layers/pieces.h"
#include "memory/error.h"
#include "memory/host_store.h"
#include "memory/packed.h"
#include "memory/parallel.h"
#include "memory/quant.h"
#include "memory/units.h"

namespace sluice {
namespace {

constexpr std::size_t kStagingBytes = 4_MiB;
constexpr std::size_t kAtOnceBytes = 192_KiB;  // by each thread: well within L2

// Some rows of a file and where they are read to.
struct Rows {
  std::size_t begin_bytes;
  std::span<std::byte> bytes;
};

class Loader {
 public:
  Loader(const ModelFile& file, const ModelLayout& layout, const Plan& plan, Device& device,
         const Progress& progress, const std::atomic<bool>* stop)
      : file_(file),
        layout_(layout),
        device_(device),
        progress_(progress),
        stop_(stop),
        forgets_(plan.disk_buffers > 0),
        total_bytes_(layout.units_bytes() - plan.disk_bytes(layout)),
        half_bytes_(half_bytes(layout)),
        staging_(2 * half_bytes_),
        sent_{device.make_event(), device.make_event()},
        stream_(device.make_stream("load")) {
    staging_.pin(device);
  }

  void vectors(float* to) {
    for (const auto& layer : layout_.layer_vectors) {
      for (const VectorInfo& info : layer) vector(info, to);
    }
    vector(layout_.head_norm, to);
    finish();
  }

  // Packs a unit where it stays.
  void pack_in_place(std::size_t unit, std::byte* to) {
    for (const Piece& piece : cut_unit(layout_.units, unit, half_bytes_)) {
      pack(piece, to + piece.begin_bytes);
    }
  }

  // Packs a unit piece by piece into staging, and sends it on.
  void pack_and_send(std::size_t unit, std::byte* to) {
    for (const Piece& piece : cut_unit(layout_.units, unit, half_bytes_)) {
      std::byte* half = next_half();
      pack(piece, half);
      send(to + piece.begin_bytes, half, piece.size_bytes);
    }
  }

  void finish() {
    for (const auto& event : sent_) event->synchronize();
  }

  // What the system has read ahead of what was wanted, too.
  void forget_files() {
    if (!forgets_) return;
    for (const UnitInfo& unit : layout_.units) {
      const MappedFile& file = file_.file(unit.matrices.front().tensor->file);
      file.forget(0, file.bytes().size());
    }
  }

  std::size_t link_bytes() const { return link_bytes_; }

 private:
  static std::size_t half_bytes(const ModelLayout& layout) {
    std::size_t bytes = kStagingBytes;
    for (const UnitInfo& unit : layout.units) bytes = std::max(bytes, largest_panel_bytes(unit));
    return align_up(bytes);
  }

  void vector(const VectorInfo& info, float* to) {
    if (info.tensor == nullptr) return;
    const std::size_t count = info.tensor->columns();
    std::byte* half = next_half();
    if (count * sizeof(float) > half_bytes_) {
      throw Error(ErrorKind::kBadFile,
                  text(file_.path().string(), ": tensor ", info.tensor->name, " is too long"));
    }
    std::vector<std::byte> row(info.tensor->size_bytes);
    file_.file(info.tensor->file).check_read(info.tensor->begin_bytes, row);
    decode_row(info.tensor->type, row.data(), count, reinterpret_cast<float*>(half));
    send(reinterpret_cast<std::byte*>(to + info.begin), half, count * sizeof(float));
  }

  std::byte* next_half() {
    half_ ^= 1;
    sent_[half_]->synchronize();
    return staging_.data() + half_ * half_bytes_;
  }

  void send(std::byte* to, const std::byte* from, std::size_t bytes) {
    device_.copy(*stream_, Direction::kToDevice, to, from, bytes);
    stream_->record(*sent_[half_]);
    link_bytes_ += bytes;
  }

  void pack(const Piece& piece, std::byte* to) {
    const UnitInfo& unit = layout_.units[piece.unit];
    for (const PanelRange& range : piece.ranges) {
      const MatrixInfo& matrix = unit.matrices[range.matrix];
      pack_range(matrix, range, to + range.begin_bytes);
    }
    done_bytes_ += piece.size_bytes;
    if (progress_) progress_(std::min(done_bytes_, total_bytes_), total_bytes_);
    if (stop_ != nullptr && stop_->load(std::memory_order_relaxed)) {
      finish();
      throw Interrupted{};
    }
  }

  // Reads a few panels' rows at a time into memory that stays in cache, and packs them from there.
  void pack_range(const MatrixInfo& matrix, const PanelRange& range, std::byte* to) {
    const DType type = matrix.type();
    const std::size_t columns = matrix.columns();
    const std::size_t row = row_bytes(type, columns);
    const std::size_t panel = panel_bytes(type, columns);
    const MappedFile& file = file_.file(matrix.tensor->file);
    const std::size_t together = std::max<std::size_t>(kAtOnceBytes / (kPanelRows * row), 1);
    const auto rows_of = [&](std::size_t begin, std::size_t end) {
      const std::size_t first = (range.first_panel + begin) * kPanelRows;
      const std::size_t last = std::min((range.first_panel + end) * kPanelRows, matrix.rows());
      static thread_local std::vector<std::byte> rows;
      rows.resize(std::max(rows.size(), (last - first) * row));
      return Rows{matrix.tensor->begin_bytes + first * row, {rows.data(), (last - first) * row}};
    };
    std::atomic<std::size_t> failed{range.panels};
    parallel_for(range.panels, together, [&](std::size_t begin, std::size_t end) {
      for (std::size_t stop = begin; begin < end; begin = stop) {
        stop = std::min(begin + together, end);
        const Rows rows = rows_of(begin, stop);
        if (!file.try_read(rows.begin_bytes, rows.bytes)) {
          failed = begin;
          return;
        }
        for (std::size_t p = begin; p < stop; ++p) {
          const std::span<const std::byte> from =
              rows.bytes.subspan((p - begin) * kPanelRows * row);
          const std::size_t count = std::min(kPanelRows, from.size() / row);
          pack_panel(type, from.data(), count, columns, to + p * panel);
        }
      }
    });
    if (failed == range.panels) {
      if (forgets_) file.forget(matrix.tensor->begin_bytes, matrix.tensor->size_bytes);
      return;
    }
    const Rows rows = rows_of(failed, failed + 1);
    file.check_read(rows.begin_bytes, rows.bytes);
    pack_range(matrix, range, to);  // what stood in the way has gone
  }

  const ModelFile& file_;
  const ModelLayout& layout_;
  Device& device_;
  const Progress& progress_;
  const std::atomic<bool>* stop_;
  bool forgets_;  // what it has read: memory is short
  std::size_t total_bytes_;
  std::size_t done_bytes_ = 0;
  std::size_t link_bytes_ = 0;
  std::size_t half_bytes_;
  HostStore staging_;  // two halves, one filled while the other is sent
  std::size_t half_ = 0;
  std::array<std::unique_ptr<Event>, 2> sent_;
  std::unique_ptr<Stream> stream_;  // goes first: it ends its work, which uses all of the above
};

}  // namespace

std::size_t store_bytes(const ModelLayout& layout, const Plan& plan) {
  std::size_t total = 0;
  for (std::size_t unit = 0; unit < layout.units.size(); ++unit) {
    const Placement where = plan.placement[unit];
    if (where == Placement::kHost || where == Placement::kInPlace) {
      total += align_up(layout.units[unit].size_bytes);
    }
  }
  return total;
}

LoadedWeights load_weights(const ModelFile& file, const ModelLayout& layout, const Plan& plan,
                           Device& device, Arena& arena, std::byte* store, const Progress& progress,
                           const std::atomic<bool>* stop) {
  LoadedWeights loaded{};
  Loader loader(file, layout, plan, device, progress, stop);
  loaded.vectors = arena.lend_array<float>(layout.vector_floats, "norm weights");
  loader.vectors(loaded.vectors);
  for (std::size_t unit = 0; unit < layout.units.size(); ++unit) {
    const std::size_t bytes = layout.units[unit].size_bytes;
    if (plan.placement[unit] == Placement::kResident) {
      loaded.units.push_back(arena.lend(bytes, layout.units[unit].name()));
      loader.pack_and_send(unit, loaded.units.back());
    } else if (plan.placement[unit] == Placement::kDisk) {
      loaded.units.push_back(nullptr);
    } else {
      loaded.units.push_back(store);
      loader.pack_in_place(unit, store);
      store += align_up(bytes);
    }
  }
  loader.finish();
  loader.forget_files();
  loaded.link_bytes = loader.link_bytes();
  return loaded;
}

}  // namespace sluice
