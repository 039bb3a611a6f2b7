// CPU time of other processes, all threads. The sum is the process's CPU clock, which the scheduler counts in
// nanoseconds whenever it switches a thread and at each tick: of a thread that runs at the moment, up to one tick (1 to
// 10 ms, by the kernel's HZ) is not in it yet. How it divides into user and system time comes from /proc/PID/stat in
// clock ticks of 10 ms, and most kernels only sample it, once per tick: one run is too short for a division, so both
// numbers of ticks are reported as they are and added up over several runs.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <optional>

namespace ringway::bench {

struct ProcessCpu {
  uint64_t total_ns = 0;
  uint64_t user_ticks = 0;
  uint64_t system_ticks = 0;

  ProcessCpu operator-(const ProcessCpu& earlier) const {
    return {total_ns - earlier.total_ns, user_ticks - earlier.user_ticks, system_ticks - earlier.system_ticks};
  }
  double total_us() const { return static_cast<double>(total_ns) / 1000; }
};

// Nothing when the process is gone.
inline std::optional<ProcessCpu> ReadProcessCpu(pid_t pid) {
  clockid_t clock;
  timespec time{};
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) return std::nullopt;
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/stat", static_cast<int>(pid));
  std::FILE* file = std::fopen(path, "r");
  if (file == nullptr) return std::nullopt;
  char line[2048] = {};
  const size_t length = std::fread(line, 1, sizeof line - 1, file);
  std::fclose(file);
  // The second field is the program's name in brackets and may hold anything, brackets too: count from the last one.
  const char* after_name = length > 0 ? std::strrchr(line, ')') : nullptr;
  unsigned long long user = 0;
  unsigned long long system = 0;
  if (after_name == nullptr ||
      std::sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) != 2) {
    return std::nullopt;
  }
  return ProcessCpu{static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec), user,
                    system};
}

// In nanoseconds, of this process.
inline uint64_t ReadOwnCpuNs() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

}  // namespace ringway::bench
