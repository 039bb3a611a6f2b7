// CPU time of other processes, as the kernel accounts it, all threads. The sum is exact to the nanosecond: it is what
// the process's CPU clock says. How it divides into user and system time comes from /proc/PID/stat, in clock ticks (10
// ms) and sampled by ticks: over less than a second the division is coarse.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <optional>

namespace ringway::bench {

struct CpuTime {
  uint64_t user_us = 0;
  uint64_t system_us = 0;

  CpuTime operator-(const CpuTime& earlier) const { return {user_us - earlier.user_us, system_us - earlier.system_us}; }
  double total() const { return static_cast<double>(user_us + system_us); }
};

struct ProcessCpu {
  uint64_t total_ns = 0;
  uint64_t user_ticks = 0;
  uint64_t system_ticks = 0;

  CpuTime operator-(const ProcessCpu& earlier) const {
    const uint64_t total_us = (total_ns - earlier.total_ns) / 1000;
    const auto user = static_cast<double>(user_ticks - earlier.user_ticks);
    const double ticks = user + static_cast<double>(system_ticks - earlier.system_ticks);
    const auto user_us = ticks == 0 ? 0 : static_cast<uint64_t>(static_cast<double>(total_us) * user / ticks);
    return {user_us, total_us - user_us};
  }
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

inline CpuTime ReadOwnCpu() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto microseconds = [](const timeval& time) {
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000 + static_cast<uint64_t>(time.tv_usec);
  };
  return {microseconds(usage.ru_utime), microseconds(usage.ru_stime)};
}

}  // namespace ringway::bench
