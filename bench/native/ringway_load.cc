// ringway-load: see --help. It shares the machine with the server it measures, so it does as little as it can per
// message.
#include <csignal>
#include <cstdio>

#include "generator.h"
#include "idle.h"
#include "options.h"
#include "socket.h"

namespace ringway::bench {
namespace {

const char* ProtocolName(Protocol protocol) {
  switch (protocol) {
    case Protocol::kPlain:
      return "plain";
    case Protocol::kRmp:
      return "rmp";
    case Protocol::kRawEcho:
      return "raw-echo";
  }
  return "";
}

double PerMessage(double microseconds, uint64_t messages) {
  return messages == 0 ? 0 : microseconds / static_cast<double>(messages);
}

void PrintProcesses(const Result& result) {
  double total_us = 0;
  std::printf("\"cpu\":[");
  for (const ProcessUse& process : result.processes) {
    total_us += process.cpu.total();
    std::printf("%s{\"pid\":%d,\"cpuUserUs\":%llu,\"cpuSystemUs\":%llu,\"cpuUsPerMessage\":%.4f}",
                &process == result.processes.data() ? "" : ",", static_cast<int>(process.pid),
                static_cast<unsigned long long>(process.cpu.user_us),
                static_cast<unsigned long long>(process.cpu.system_us),
                PerMessage(process.cpu.total(), result.messages));
  }
  std::printf("],\"cpuUsPerMessage\":%.4f,\"loadCpuUsPerMessage\":%.4f,", PerMessage(total_us, result.messages),
              PerMessage(result.own_cpu.total(), result.messages));
}

void PrintLatency(const Histogram& latency) {
  const auto microseconds = [](uint64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1000; };
  std::printf("\"p50Us\":%.1f,\"p99Us\":%.1f,\"p999Us\":%.1f,\"maxUs\":%.1f,", microseconds(latency.Quantile(0.5)),
              microseconds(latency.Quantile(0.99)), microseconds(latency.Quantile(0.999)), microseconds(latency.max()));
}

void Print(const Options& options, const Result& result) {
  std::printf("{\"protocol\":\"%s\",\"connections\":%d,\"depth\":%d,\"size\":%d,\"seconds\":%.3f,",
              ProtocolName(options.protocol), options.connections, options.depth, options.size, result.seconds);
  std::printf("\"messages\":%llu,\"msgPerSec\":%.0f,", static_cast<unsigned long long>(result.messages),
              static_cast<double>(result.messages) / result.seconds);
  PrintLatency(result.latency);
  PrintProcesses(result);
  std::printf(
      "\"errors\":%llu,\"wrong\":%llu,\"unexpected\":%llu,\"closed\":%llu,\"missing\":%llu}\n",
      static_cast<unsigned long long>(result.errors.total()), static_cast<unsigned long long>(result.errors.wrong),
      static_cast<unsigned long long>(result.errors.unexpected), static_cast<unsigned long long>(result.errors.closed),
      static_cast<unsigned long long>(result.errors.missing));
}

int RunLoad(const Options& options) {
  Generator generator(options);
  if (!generator.Connect()) return 1;
  Result result;
  const bool complete = generator.Run(&result);
  Print(options, result);
  return complete && result.errors.total() == 0 && result.messages > 0 ? 0 : 1;
}

}  // namespace
}  // namespace ringway::bench

int main(int argc, char** argv) {
  const ringway::bench::Options options = ringway::bench::ParseArguments(argc, argv);
  std::signal(SIGPIPE, SIG_IGN);
  ringway::bench::RaiseDescriptorLimit();
  return options.idle > 0 ? ringway::bench::RunIdle(options) : ringway::bench::RunLoad(options);
}
