// Measures how fast a model's file is read.
#pragma once

#include "memory/link.h"
#include "memory/model_file.h"

namespace sluice {

// Past the page cache, 128 MiB or what there is, in reads of the disk tier's size, as many at once;
// and how long a small one takes alone. Throws Error{kIo}.
LinkSpeed probe_disk(const ModelFile& file);

}  // namespace sluice
