// The load: one thread, one epoll set, edge-triggered. Each readable event costs one receive and one send, however many
// answers it brings: they are checked in place and as many new requests leave together.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "answer_checker.h"
#include "arrivals.h"
#include "connection.h"
#include "options.h"
#include "outbox.h"
#include "payload.h"
#include "process_cpu.h"
#include "request_writer.h"
#include "result.h"

namespace ringway::bench {

class Generator {
 public:
  explicit Generator(const Options& options);
  ~Generator();
  Generator(const Generator&) = delete;
  Generator& operator=(const Generator&) = delete;

  // Opens every connection. False, with a line on stderr, when one could not be opened.
  bool Connect();
  // False, with a line on stderr, when a process to be watched is gone. The result is complete in either case.
  bool Run(Result* result);

 private:
  static constexpr size_t kReadBytes = 256 * 1024;
  static constexpr uint64_t kSecond = 1'000'000'000;
  static constexpr uint64_t kLongestPollNs = kSecond / 10;
  // After the last answer: time for one that nobody asked for.
  static constexpr uint64_t kListenOnNs = kSecond / 50;
  static constexpr uint64_t kWarmUpStepNs = kSecond / 200;
  // Answers are looked at between so many requests, also when the generator is behind.
  static constexpr int kDueAtOnce = 64;
  static constexpr int kMaxExplained = 8;

  void Start();
  void WarmUp();
  void LoopUntil(uint64_t end_ns);
  void Rest();
  void PassGate(const char* line);
  void Drain();
  void CountMissing();
  void Poll(uint64_t timeout_ns);
  void Handle(Connection* connection, uint32_t events);

  // Open loop.
  bool IsDue(uint64_t now_ns) const;
  void SendDue();
  Connection* TakeTurn();

  // Churn.
  void Open(Connection* connection);
  void OnConnected(Connection* connection);
  void EndCycle(Connection* connection);

  void Receive(Connection* connection, bool to_the_end);
  // False: the connection was given up.
  bool Consume(Connection* connection, const uint8_t* bytes, size_t length);
  bool Act(Connection* connection, Verdict verdict);
  void CountPartial(Connection* connection);
  void Settle(Connection* connection, Verdict verdict);
  void SendNext(Connection* connection);
  void Request(Connection* connection, uint64_t due_ns);
  Outbox* OutboxOf(Connection* connection);
  void Flush(Connection* connection);
  void Watch(const Connection& connection);
  void Close(Connection* connection);
  void GiveUp(Connection* connection, uint64_t* error, const char* what, uint64_t number);
  bool ReadCpu(std::vector<ProcessCpu>* times) const;
  static uint64_t Now();

  const Options options_;
  const PayloadPattern pattern_;
  const AnswerChecker checker_;
  const RequestWriter writer_;
  const bool in_order_;
  const bool churns_;
  const uint64_t patience_ns_;
  const int epoll_fd_;
  std::vector<Connection> connections_;
  std::vector<int> idle_fds_;
  std::unique_ptr<uint8_t[]> inbox_ = std::make_unique_for_overwrite<uint8_t[]>(kReadBytes);
  Outbox outbox_;  // shared: the requests of one event
  Arrivals arrivals_;
  size_t turn_ = 0;
  uint32_t opened_ = 0;
  uint64_t now_ns_ = 0;
  uint64_t last_progress_ns_ = 0;
  uint64_t window_start_ns_ = UINT64_MAX;  // the measured time
  uint64_t window_end_ns_ = UINT64_MAX;
  uint64_t settled_ = 0;  // answers, from the beginning on
  uint64_t in_flight_ = 0;
  uint64_t waiting_ = 0;
  size_t open_ = 0;
  bool sending_ = true;
  bool measuring_ = false;
  int explained_ = 0;
  Result result_;
};

}  // namespace ringway::bench
