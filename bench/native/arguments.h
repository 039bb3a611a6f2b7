// The command line of ringway-load.
#pragma once

#include <sys/types.h>

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <vector>

#include "options.h"

namespace ringway::bench {

inline constexpr char kUsage[] =
    R"(usage: ringway-load --port P [options]
A load generator of one thread: every answer is checked byte for byte, with its order and its id.

  --host H            IPv4 or IPv6 address (default 127.0.0.1)
  --port P            port of the server
  --connections N     (default 50)
  --depth D           requests in flight per connection, at most 65536 (default 1); with --rate the most there may be
                      (default 65536): what is due beyond it waits in the generator, and its time counts
  --size S            payload bytes, at least 8 (default 64), or several with weights: 64:90,4096:9,262144:1
  --protocol NAME     plain | rmp | raw-echo (default plain)
  --route R           route of rmp requests (default 0)
  --rate R            open loop: R requests per second over all connections, which take turns; a latency counts from the
                      time the request was to be sent, whether or not the server, or the generator, was ready
  --arrivals KIND     of an open loop: poisson (default) | uniform
  --mode NAME         request (default)
                      churn    connect, one request (or --depth at once), the answers, close; N of these at a time
                      stream   rmp: each request is answered by --partials N partial responses and an empty final one
                      cancel   rmp: each request is cancelled at once; it still gets exactly one final response
  --partials N        (default 100)
  --seconds T         measured time (default 2)
  --warmup-seconds T  seconds before it (default 0.5); also --warmup
  --warmup-answers N  and until every connection had N answers on average (default 0) …
  --warmup-most T     … but not longer than so many seconds
  --patience T        seconds without any answer after which what is in flight counts as missing (default 10)
  --pid PID[,PID...]  server processes whose CPU time is read over the measured time
  --idle N            with --connections: N more, which stay idle and must still be open at the end. Alone: opens N, prints
                      a line when the server has accepted all, and holds them until stdin closes
  --spin              never sleep: answers are seen and requests sent at once, at the price of a core; without it the
                      wake-up of the generator is part of each latency
  --touch             with --idle alone: exchange one message over each connection first
  --gate              of a closed loop: rests before and after the measured time with nothing in flight, prints a line and
                      waits for one on stdin, so that who counts system calls meanwhile counts those of these messages

Prints one JSON object. Exit status: 0; 1 when an answer was wrong, missing or unexpected; 2 for bad arguments.
)";

inline std::optional<double> ParseNumber(const char* text, double min, double max) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (end == text || *end != '\0' || !(value >= min && value <= max)) return std::nullopt;
  return value;
}

template <typename Number>
bool Assign(const char* text, double min, double max, Number* out) {
  const std::optional<double> value = ParseNumber(text, min, max);
  if (value) *out = static_cast<Number>(*value);
  return value.has_value();
}

template <typename Value>
struct Named {
  std::string_view name;
  Value value;
};

template <typename Value, size_t count>
bool Choose(std::string_view text, const Named<Value> (&choices)[count], Value* out) {
  for (const Named<Value>& choice : choices) {
    if (choice.name == text) return *out = choice.value, true;
  }
  return false;
}

inline constexpr Named<Protocol> kProtocols[] = {
    {"plain", Protocol::kPlain}, {"rmp", Protocol::kRmp}, {"raw-echo", Protocol::kRawEcho}};
inline constexpr Named<Mode> kModes[] = {
    {"request", Mode::kRequest}, {"churn", Mode::kChurn}, {"stream", Mode::kStream}, {"cancel", Mode::kCancel}};
inline constexpr Named<Spacing> kSpacings[] = {{"poisson", Spacing::kPoisson}, {"uniform", Spacing::kUniform}};

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

// Null: not an option that stands alone.
inline bool* FlagOf(std::string_view name, Options* options) {
  if (name == "--touch") return &options->touch;
  if (name == "--spin") return &options->spin;
  if (name == "--gate") return &options->gate;
  return nullptr;
}

// One option and its value. False: not understood.
inline bool ParseOption(std::string_view name, const char* value, Options* options) {
  if (name == "--host") return options->host = value, true;
  if (name == "--port") return Assign(value, 1, 65535, &options->port);
  if (name == "--connections") return Assign(value, 1, 60000, &options->connections);
  if (name == "--depth") return Assign(value, 1, kMostInFlight, &options->depth);
  if (name == "--size") return options->sizes.Parse(value);
  if (name == "--route") return Assign(value, 0, 65535, &options->route);
  if (name == "--partials") return Assign(value, 0, 1'000'000, &options->partials);
  if (name == "--rate") return Assign(value, 0.1, 1e8, &options->rate);
  if (name == "--arrivals") return Choose(value, kSpacings, &options->spacing);
  if (name == "--mode") return Choose(value, kModes, &options->mode);
  if (name == "--protocol") return Choose(value, kProtocols, &options->protocol);
  if (name == "--seconds") return Assign(value, 0.01, 3600, &options->seconds);
  if (name == "--warmup" || name == "--warmup-seconds") return Assign(value, 0, 3600, &options->warmup);
  if (name == "--warmup-answers") return Assign(value, 0, 1'000'000, &options->warmup_answers);
  if (name == "--warmup-most") return Assign(value, 0, 3600, &options->warmup_most);
  if (name == "--patience") return Assign(value, 0.01, 3600, &options->patience);
  if (name == "--idle") return Assign(value, 1, 60000, &options->idle);
  if (name == "--pid") return ParsePids(value, &options->pids);
  return false;
}

// What is wrong with options that do not go together; null when nothing is.
inline const char* Contradiction(const Options& options) {
  const bool needs_rmp = options.mode == Mode::kStream || options.mode == Mode::kCancel;
  if (options.port == 0) return "--port is missing";
  if (needs_rmp && options.protocol != Protocol::kRmp) return "--mode stream and cancel need --protocol rmp";
  if (options.mode == Mode::kChurn && options.open_loop()) return "--mode churn has no --rate";
  if (options.gate && (options.mode == Mode::kChurn || options.mode == Mode::kHold || options.open_loop())) {
    return "--gate needs a closed loop";
  }
  if (options.touch && options.mode != Mode::kHold) return "--touch goes with --idle alone";
  if (options.mode == Mode::kHold && options.protocol == Protocol::kRmp) {
    return "--idle alone needs an echo server: plain or raw-echo";
  }
  return nullptr;
}

// Exits with status 2 and a sentence when the arguments are wrong.
inline Options ParseArguments(int argc, char** argv) {
  Options options;
  bool busy = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--help") {
      std::fputs(kUsage, stdout);
      std::exit(0);
    }
    if (bool* flag = FlagOf(name, &options); flag != nullptr) {
      *flag = true;
      continue;
    }
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (!ParseOption(name, value, &options)) {
      std::fprintf(stderr, "ringway-load: bad argument: %s %s (see --help)\n", argv[i], value);
      std::exit(2);
    }
    busy = busy || name == "--connections";
    ++i;
  }
  if (options.idle > 0 && !busy) options.mode = Mode::kHold;
  if (options.depth == 0) options.depth = options.open_loop() ? kMostInFlight : 1;
  if (const char* wrong = Contradiction(options); wrong != nullptr) {
    std::fprintf(stderr, "ringway-load: %s (see --help)\n", wrong);
    std::exit(2);
  }
  return options;
}

}  // namespace ringway::bench
