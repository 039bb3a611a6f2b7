// The command line of ringway-load.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ringway::bench {

enum class Protocol : uint8_t {
  kPlain,    // u32 length, payload; answers in request order on each connection
  kRmp,      // RMP requests; answers matched by id
  kRawEcho,  // no framing: the bytes sent come back
};

struct Options {
  std::string host = "127.0.0.1";
  int port = 0;
  int connections = 50;
  int depth = 1;
  int size = 64;
  Protocol protocol = Protocol::kPlain;
  int route = 0;
  double seconds = 2;
  double warmup = 0.5;
  std::vector<pid_t> pids;
  // 0: run the closed loop. Otherwise open so many connections and hold them until stdin closes.
  int idle = 0;
  // With idle: one message goes over each connection before it rests.
  bool touch = false;
};

inline constexpr char kUsage[] =
    R"(usage: ringway-load --port P [options]
A closed-loop load generator: each of N connections keeps D requests in flight; every answer is checked byte for byte.

  --host H            IPv4 or IPv6 address (default 127.0.0.1)
  --port P            port of the server
  --connections N     (default 50)
  --depth D           requests in flight per connection, at most 65536 (default 1)
  --size S            payload bytes, at least 8 (default 64)
  --protocol NAME     plain | rmp | raw-echo (default plain)
  --route R           route of rmp requests (default 0)
  --seconds T         measured time (default 2)
  --warmup T          seconds before it (default 0.5)
  --pid PID[,PID...]  server processes whose CPU time is read over the measured time
  --idle N            open N connections, print a line when the server has accepted all, hold them until stdin closes
  --touch             with --idle: exchange one message over each connection first

Prints one JSON object. Exit status: 0; 1 when an answer was wrong, missing or unexpected; 2 for bad arguments.
)";

inline std::optional<double> ParseNumber(const char* text, double min, double max) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (end == text || *end != '\0' || !(value >= min && value <= max)) return std::nullopt;
  return value;
}

inline std::optional<Protocol> ParseProtocol(std::string_view name) {
  if (name == "plain") return Protocol::kPlain;
  if (name == "rmp") return Protocol::kRmp;
  if (name == "raw-echo") return Protocol::kRawEcho;
  return std::nullopt;
}

inline bool ParsePids(const char* list, std::vector<pid_t>* pids) {
  for (const char* at = list; *at != '\0';) {
    char* end = nullptr;
    const long pid = std::strtol(at, &end, 10);
    if (end == at || pid <= 0 || (*end != '\0' && *end != ',')) return false;
    pids->push_back(static_cast<pid_t>(pid));
    at = *end == ',' ? end + 1 : end;
  }
  return !pids->empty();
}

template <typename Number>
bool Assign(const char* text, double min, double max, Number* out) {
  const std::optional<double> value = ParseNumber(text, min, max);
  if (value) *out = static_cast<Number>(*value);
  return value.has_value();
}

// One option and its value. False: not understood.
inline bool ParseOption(std::string_view name, const char* value, Options* options) {
  if (name == "--host") return options->host = value, true;
  if (name == "--port") return Assign(value, 1, 65535, &options->port);
  if (name == "--connections") return Assign(value, 1, 60000, &options->connections);
  if (name == "--depth") return Assign(value, 1, 65536, &options->depth);
  if (name == "--size") return Assign(value, 8, 64 << 20, &options->size);
  if (name == "--route") return Assign(value, 0, 65535, &options->route);
  if (name == "--seconds") return Assign(value, 0.01, 3600, &options->seconds);
  if (name == "--warmup") return Assign(value, 0, 3600, &options->warmup);
  if (name == "--idle") return Assign(value, 1, 60000, &options->idle);
  if (name == "--pid") return ParsePids(value, &options->pids);
  if (name == "--protocol") {
    const std::optional<Protocol> protocol = ParseProtocol(value);
    if (protocol) options->protocol = *protocol;
    return protocol.has_value();
  }
  return false;
}

// Exits with status 2 and a sentence when the arguments are wrong.
inline Options ParseArguments(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--help") {
      std::fputs(kUsage, stdout);
      std::exit(0);
    }
    if (name == "--touch") {
      options.touch = true;
      continue;
    }
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (!ParseOption(name, value, &options)) {
      std::fprintf(stderr, "ringway-load: bad argument: %s %s (see --help)\n", argv[i], value);
      std::exit(2);
    }
    ++i;
  }
  if (options.port == 0) {
    std::fputs("ringway-load: --port is missing (see --help)\n", stderr);
    std::exit(2);
  }
  return options;
}

}  // namespace ringway::bench
