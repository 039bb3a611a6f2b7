// ringway-load: see --help. It shares the machine with the server it measures, so it does as little as it can per
// message.
#include <csignal>

#include "arguments.h"
#include "generator.h"
#include "idle.h"
#include "options.h"
#include "report.h"
#include "socket.h"

namespace ringway::bench {
namespace {

int RunLoad(const Options& options) {
  Generator generator(options);
  if (!generator.Connect()) return 1;
  Result result;
  const bool complete = generator.Run(&result);
  Report(options, result).Print();
  return complete && result.errors.total() == 0 && result.messages > 0 ? 0 : 1;
}

}  // namespace
}  // namespace ringway::bench

int main(int argc, char** argv) {
  const ringway::bench::Options options = ringway::bench::ParseArguments(argc, argv);
  std::signal(SIGPIPE, SIG_IGN);
  ringway::bench::RaiseDescriptorLimit();
  return options.mode == ringway::bench::Mode::kHold ? ringway::bench::RunIdle(options)
                                                     : ringway::bench::RunLoad(options);
}
