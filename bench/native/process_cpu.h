// CPU time of other processes, as the kernel accounts it: all threads, user and system, from /proc/PID/stat. Its unit
// is the clock tick (10 ms), so measured times below a second are coarse.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <optional>

namespace ringway::bench {

struct CpuTime {
  uint64_t user_us = 0;
  uint64_t system_us = 0;

  CpuTime operator-(const CpuTime& earlier) const { return {user_us - earlier.user_us, system_us - earlier.system_us}; }
  double total() const { return static_cast<double>(user_us + system_us); }
};

// Nothing when the process is gone.
inline std::optional<CpuTime> ReadProcessCpu(pid_t pid) {
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
  const auto tick_us = static_cast<uint64_t>(1'000'000 / sysconf(_SC_CLK_TCK));
  return CpuTime{user * tick_us, system * tick_us};
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
