// The run: warm-up, the measured time, and what comes home after it.
#include "generator.h"

#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <ctime>
#include <optional>

#include "idle.h"

namespace ringway::bench {

Generator::Generator(const Options& options)
    : options_(options),
      pattern_(options.sizes.largest()),
      checker_(options_, pattern_),
      writer_(options_, pattern_),
      in_order_(options.protocol != Protocol::kRmp),
      churns_(options.mode == Mode::kChurn),
      patience_ns_(static_cast<uint64_t>(options.patience * 1e9)),
      epoll_fd_(epoll_create1(EPOLL_CLOEXEC)),
      connections_(static_cast<size_t>(options.connections)),
      arrivals_(options.open_loop() ? options.rate : 1, options.spacing) {}

Generator::~Generator() {
  for (const Connection& connection : connections_) {
    if (connection.fd >= 0) close(connection.fd);
  }
  for (const int fd : idle_fds_) close(fd);
  close(epoll_fd_);
}

bool Generator::Run(Result* result) {
  if (options_.open_loop()) prctl(PR_SET_TIMERSLACK, 1000);  // nanoseconds; the default is 50 µs
  now_ns_ = last_progress_ns_ = Now();
  arrivals_.StartAt(now_ns_);
  Start();
  WarmUp();
  if (options_.gate) {
    Rest();
    PassGate("warm");
    sending_ = true;
    now_ns_ = last_progress_ns_ = Now();
  }

  std::vector<ProcessCpu> before;
  std::vector<ProcessCpu> after;
  const bool watched_before = ReadCpu(&before);
  const uint64_t own_before_ns = ReadOwnCpuNs();
  window_start_ns_ = Now();
  window_end_ns_ = window_start_ns_ + static_cast<uint64_t>(options_.seconds * 1e9);
  measuring_ = true;
  if (options_.gate) Start();
  LoopUntil(window_end_ns_);
  if (options_.gate) Rest();
  measuring_ = false;
  const uint64_t end_ns = Now();
  const bool watched = ReadCpu(&after) && watched_before;
  result_.own_cpu_us = static_cast<double>(ReadOwnCpuNs() - own_before_ns) / 1000;
  if (options_.gate) PassGate("rested");

  Drain();
  CountMissing();
  result_.seconds = static_cast<double>(end_ns - window_start_ns_) / 1e9;
  for (size_t i = 0; watched && i < options_.pids.size(); ++i) {
    result_.processes.push_back({options_.pids[i], after[i] - before[i]});
  }
  *result = result_;
  return watched;
}

// An open loop starts by itself, when the first request is due.
void Generator::Start() {
  for (Connection& connection : connections_) {
    if (churns_) {
      Open(&connection);
    } else if (!options_.open_loop()) {
      for (int i = 0; i < options_.depth; ++i) Request(&connection, now_ns_);
      Flush(&connection);
    }
  }
}

void Generator::WarmUp() {
  const uint64_t start_ns = now_ns_;
  LoopUntil(start_ns + static_cast<uint64_t>(options_.warmup * 1e9));
  const uint64_t wanted = static_cast<uint64_t>(options_.warmup_answers) * connections_.size();
  const uint64_t latest_ns = start_ns + static_cast<uint64_t>(options_.warmup_most * 1e9);
  while (open_ > 0 && settled_ < wanted && Now() < latest_ns) LoopUntil(std::min(latest_ns, Now() + kWarmUpStepNs));
}

// Asks nothing more, and waits for the answers.
void Generator::Rest() {
  sending_ = false;
  while (open_ > 0 && in_flight_ > 0 && Now() < last_progress_ns_ + patience_ns_) Poll(kLongestPollNs);
}

void Generator::PassGate(const char* line) {
  std::printf("{\"%s\":true}\n", line);
  std::fflush(stdout);
  WaitForLine();
}

void Generator::LoopUntil(uint64_t end_ns) {
  while (open_ > 0) {
    const uint64_t now_ns = Now();
    if (now_ns >= end_ns || (in_flight_ > 0 && now_ns > last_progress_ns_ + patience_ns_)) return;
    if (options_.open_loop()) SendDue();
    const uint64_t until_ns = options_.open_loop() ? std::min(end_ns, arrivals_.next_ns()) : end_ns;
    const uint64_t after_ns = Now();
    Poll(until_ns > after_ns ? std::min(until_ns - after_ns, kLongestPollNs) : 0);
  }
}

// What is in flight still comes home, and what was due is still sent: a request without an answer is an error, also at
// the end, and one answered late has its latency.
void Generator::Drain() {
  sending_ = false;
  while (open_ > 0 && (in_flight_ > 0 || waiting_ > 0 || IsDue(window_end_ns_)) &&
         Now() < last_progress_ns_ + patience_ns_) {
    if (options_.open_loop()) SendDue();
    Poll(IsDue(window_end_ns_) ? 0 : kLongestPollNs);
  }
  const uint64_t listen_until_ns = Now() + kListenOnNs;
  for (uint64_t now_ns = Now(); open_ > 0 && now_ns < listen_until_ns; now_ns = Now()) Poll(listen_until_ns - now_ns);
}

void Generator::CountMissing() {
  result_.errors.missing = in_flight_ + waiting_;
  if (result_.errors.missing > 0) {
    std::fprintf(stderr, "ringway-load: %" PRIu64 " requests were not answered\n", result_.errors.missing);
  }
  const size_t closed = CountClosed(idle_fds_);
  result_.errors.closed += closed;
  if (closed > 0) std::fprintf(stderr, "ringway-load: the server closed %zu idle connections\n", closed);
}

void Generator::Poll(uint64_t timeout_ns) {
  std::array<epoll_event, 512> events;
  if (options_.spin) timeout_ns = 0;
  const timespec timeout{static_cast<time_t>(timeout_ns / kSecond), static_cast<long>(timeout_ns % kSecond)};
  const int count = epoll_pwait2(epoll_fd_, events.data(), static_cast<int>(events.size()), &timeout, nullptr);
  for (int i = 0; i < count; ++i) Handle(&connections_[events[i].data.u32], events[i].events);
}

void Generator::Handle(Connection* connection, uint32_t events) {
  if (connection->fd < 0) return;
  if (connection->connecting) {
    if ((events & EPOLLOUT) != 0) OnConnected(connection);
    return;
  }
  if ((events & EPOLLOUT) != 0 && connection->HasUnsent()) connection->unsent->SendTo(connection->fd);
  if ((events & ~uint32_t{EPOLLOUT}) != 0) Receive(connection, (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
}

bool Generator::ReadCpu(std::vector<ProcessCpu>* times) const {
  for (const pid_t pid : options_.pids) {
    const std::optional<ProcessCpu> time = ReadProcessCpu(pid);
    if (!time) {
      std::fprintf(stderr, "ringway-load: process %d is gone\n", static_cast<int>(pid));
      return false;
    }
    times->push_back(*time);
  }
  return true;
}

uint64_t Generator::Now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * kSecond + static_cast<uint64_t>(time.tv_nsec);
}

}  // namespace ringway::bench
