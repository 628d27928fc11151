#include <iostream>

#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output_file.h"
#include "cli/progress.h"
#include "cli/synthetic_model.h"
#include "memory/clock.h"
#include "memory/error.h"
#include "memory/printable.h"
#include "memory/units.h"

namespace sluice {

int synth_command(const SynthOptions& options) {
  const std::atomic<bool>& interrupted = interrupt_on_ctrl_c();
  const ModelShape* shape = find_shape(options.preset);
  if (shape == nullptr) {
    throw Error(ErrorKind::kUsage, text("no preset is named ", printable(options.preset),
                                        "; there are ", shape_names()));
  }
  const SyntheticModel model(*shape, parse_weights(options.weights), options.seed);
  OutputFile file(options.output);
  file.require_space(model.file_bytes());
  ProgressBar bar("writing", true, options.quiet);
  const double begin = now_seconds();
  try {
    model.write([&](std::span<const std::byte> bytes) { file.write(bytes.data(), bytes.size()); },
                bar.updater(), &interrupted);
  } catch (const Interrupted&) {
    return kExitInterrupted;
  }
  file.commit();
  bar.finish();
  if (!options.quiet) {
    const double seconds = now_seconds() - begin;
    std::cerr << "sluice: wrote " << print_bytes(model.file_bytes()) << " at "
              << print_rate(static_cast<double>(model.file_bytes()) / seconds) << '\n';
  }
  return 0;
}

}  // namespace sluice
