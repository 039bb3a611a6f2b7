// What ringway-load is asked to do.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "arrivals.h"
#include "size_mix.h"

namespace ringway::bench {

enum class Protocol : uint8_t {
  kPlain,    // u32 length, payload; answers in request order on each connection
  kRmp,      // RMP requests; answers matched by id
  kRawEcho,  // no framing: the bytes sent come back
};

enum class Mode : uint8_t {
  kRequest,
  kChurn,   // connect, a request, its answer, close; again
  kStream,  // each request is answered by partial responses and a final one
  kCancel,  // each request is cancelled at once
  kHold,    // idle connections and nothing else
};

struct Options {
  std::string host = "127.0.0.1";
  int port = 0;
  Mode mode = Mode::kRequest;
  Protocol protocol = Protocol::kPlain;
  int connections = 50;
  // In flight per connection; 0 was not asked for: 1, and as many as ids can tell apart in an open loop.
  int depth = 0;
  SizeMix sizes;
  int route = 0;
  int partials = 100;
  // Requests per second over all connections; 0: a closed loop.
  double rate = 0;
  Spacing spacing = Spacing::kPoisson;
  double seconds = 2;
  double warmup = 0.5;
  // The warm-up also lasts until each connection had so many answers on average, but no longer than `warmup_most`.
  int warmup_answers = 0;
  double warmup_most = 0;
  // Seconds without an answer after which what is in flight counts as missing.
  double patience = 10;
  std::vector<pid_t> pids;
  int idle = 0;
  // Never sleeps: a busy client on a core of its own.
  bool spin = false;
  // When only idle connections are held: one message goes over each before it rests.
  bool touch = false;
  // Rests before and after the measured time, with nothing in flight, until a line comes on stdin.
  bool gate = false;

  bool open_loop() const { return rate > 0; }
};

inline constexpr int kMostInFlight = 65536;

inline const char* NameOf(Protocol protocol) {
  return protocol == Protocol::kPlain ? "plain" : protocol == Protocol::kRmp ? "rmp" : "raw-echo";
}

inline const char* ModeNameOf(const Options& options) {
  switch (options.mode) {
    case Mode::kRequest:
      return options.open_loop() ? "open" : "closed";
    case Mode::kChurn:
      return "churn";
    case Mode::kStream:
      return "stream";
    case Mode::kCancel:
      return "cancel";
    case Mode::kHold:
      return "hold";
  }
  return "";
}

}  // namespace ringway::bench
