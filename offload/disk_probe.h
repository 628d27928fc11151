// Measures how fast a model's file is read.
#pragma once

#include "memory/link.h"
#include "memory/model_file.h"

namespace sluice {

// Of reads from the file's begin on, so many at once (16 at most), for about so long. Throws
// Error{kIo}.
double disk_bytes_per_second(const MappedFile& file, std::size_t in_flight, double most_seconds);

// Past the page cache, 128 MiB or what there is, in reads of the disk tier's size, as many at once;
// and how long a small one takes alone. Throws Error{kIo}.
LinkSpeed probe_disk(const ModelFile& file);

}  // namespace sluice
