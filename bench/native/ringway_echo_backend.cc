// ringway-echo-backend: the lightest echo server the bench can put behind a relay, so that the relay is what is
// measured. --protocol plain sends the bytes back as they come (the echo of a frame is the frame); --protocol rmp
// answers each request with a response of status 0, or with partial responses, at once or after a delay, and pings with
// pongs.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "echo_server.h"
#include "socket.h"

namespace ringway::bench {
namespace {

constexpr char kUsage[] =
    R"(usage: ringway-echo-backend [--port P] [--protocol plain|rmp] [--partials N] [--delay-ms MS]
Echoes on loopback (port 0: any). With rmp:
  --partials N    answers each request with N partial responses, each a u32 that counts them from 0 and the request's
                  payload, and an empty final one (default 0: one response with the payload)
  --delay-ms MS   answers so much later; a cancel in the meantime is answered CANCELLED at once (default 0)
)";

bool ParseCount(const char* text, int most, int* out) {
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  *out = static_cast<int>(value);
  return end != text && *end == '\0' && value >= 0 && value <= most;
}

bool ParseOption(std::string_view name, const char* value, EchoOptions* options) {
  if (name == "--port") return ParseCount(value, 65535, &options->port);
  if (name == "--partials") return ParseCount(value, 1'000'000, &options->partials);
  if (name == "--delay-ms") return ParseCount(value, 3'600'000, &options->delay_ms);
  if (name != "--protocol") return false;
  options->rmp = std::string_view(value) == "rmp";
  return options->rmp || std::string_view(value) == "plain";
}

int Main(int argc, char** argv) {
  EchoOptions options;
  for (int i = 1; i < argc; i += 2) {
    if (!ParseOption(argv[i], i + 1 < argc ? argv[i + 1] : "", &options)) {
      std::fputs(kUsage, stderr);
      return 2;
    }
  }
  std::signal(SIGPIPE, SIG_IGN);
  RaiseDescriptorLimit();
  EchoServer server(options);
  if (!server.Listen()) return 1;
  server.Run();
}

}  // namespace
}  // namespace ringway::bench

int main(int argc, char** argv) { return ringway::bench::Main(argc, argv); }
