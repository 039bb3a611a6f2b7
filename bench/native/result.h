// What a run found.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "histogram.h"
#include "process_cpu.h"

namespace ringway::bench {

struct Errors {
  uint64_t wrong = 0;       // an answer whose bytes, order or status are not what was asked for
  uint64_t unexpected = 0;  // a frame nobody asked for, or one that breaks the protocol
  uint64_t closed = 0;      // connections that could not be opened, or ended before the generator was done with them
  uint64_t missing = 0;     // requests without an answer at the end

  uint64_t total() const { return wrong + unexpected + closed + missing; }
};

struct ProcessUse {
  pid_t pid = 0;
  ProcessCpu cpu;
};

struct Result {
  double seconds = 0;
  uint64_t messages = 0;  // answered in the measured time; behind a gate also those that came while it rested
  Histogram latency;
  Errors errors;
  std::vector<ProcessUse> processes;
  double own_cpu_us = 0;

  // Open loop: requests that were due in the measured time, and how late each was sent, or queued behind --depth.
  uint64_t arrivals = 0;
  Histogram lateness;
  // Churn: connections that were opened, used and closed; and how long connect took.
  uint64_t connects = 0;
  Histogram connect;
  // Streams.
  uint64_t partials = 0;
  Histogram first_partial;
  // Cancel: final responses by what they say.
  uint64_t cancelled = 0;
  uint64_t answered = 0;
};

}  // namespace ringway::bench
