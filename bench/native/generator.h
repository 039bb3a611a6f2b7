// The closed loop: one thread, one epoll set. Each readable event costs one receive and one send, however many answers
// it brings: the answers are checked in place and as many new requests leave together.
#pragma once

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <optional>
#include <vector>

#include "histogram.h"
#include "options.h"
#include "payload.h"
#include "process_cpu.h"
#include "socket.h"

namespace ringway::bench {

struct Errors {
  uint64_t wrong = 0;       // an answer whose bytes, order or status are not what was asked for
  uint64_t unexpected = 0;  // a frame nobody asked for, or one that breaks the protocol
  uint64_t closed = 0;      // connections that ended before the generator was done
  uint64_t missing = 0;     // requests without an answer at the end

  uint64_t total() const { return wrong + unexpected + closed + missing; }
};

struct ProcessUse {
  pid_t pid = 0;
  CpuTime cpu;
};

struct Result {
  double seconds = 0;
  uint64_t messages = 0;
  Histogram latency;
  Errors errors;
  std::vector<ProcessUse> processes;
  CpuTime own_cpu;
};

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
  // A request in flight. For answers in order a slot is found by sequence, for RMP by the low half of the id; the id's
  // upper half is the sequence's lower one, so that an answer given twice is told from the next one's.
  struct Slot {
    uint64_t sent_ns = 0;
    uint32_t sequence = 0;
    bool busy = false;
  };

  struct Connection {
    int fd = -1;
    uint32_t index = 0;
    uint32_t next_sequence = 0;
    uint32_t next_answer = 0;
    std::vector<Slot> slots;
    std::vector<uint8_t> unread;  // the beginning of an answer that is not whole yet
    std::vector<uint8_t> unsent;  // what the socket did not take
  };

  void StartAll();
  void LoopUntil(uint64_t end_ns);
  void Drain();
  void CountMissing();
  void Poll(int timeout_ms);
  void Receive(Connection* connection);
  // Answers how many bytes were whole frames. A connection that broke the protocol is given up, and all of it was
  // consumed.
  size_t ConsumeFrames(Connection* connection, const uint8_t* bytes, size_t length);
  // The whole frame's length; 0 while that is not known.
  size_t FrameBytes(const uint8_t* bytes, size_t length) const;
  // False: the protocol was broken.
  bool TakeFrame(Connection* connection, const uint8_t* frame, size_t length);
  bool TakeInOrder(Connection* connection, const uint8_t* payload, size_t length);
  bool TakeRmp(Connection* connection, const uint8_t* frame, size_t length);
  bool TakeRmpResponse(Connection* connection, const uint8_t* frame, size_t length);
  void Settle(Connection* connection, uint32_t slot_index, bool right);
  void QueueRequest(Connection* connection, uint32_t slot_index);
  void QueuePong(const uint8_t* ping, size_t length);
  void Flush(Connection* connection);
  void FlushUnsent(Connection* connection);
  void Watch(const Connection& connection, int operation, uint32_t events);
  void GiveUp(Connection* connection);
  void Explain(const Connection& connection, const char* what, uint64_t number);
  bool ReadCpu(std::vector<CpuTime>* times) const;

  static uint64_t Now();
  uint8_t* Grow(std::vector<uint8_t>* bytes, size_t more) const;

  const Options options_;
  const PayloadPattern pattern_;
  const size_t header_bytes_;
  const size_t max_frame_bytes_;
  int epoll_fd_ = -1;
  std::vector<Connection> connections_;
  std::vector<uint8_t> inbox_;   // shared: a connection's unread bytes are put in front of what is received
  std::vector<uint8_t> outbox_;  // shared: the requests of one event
  uint64_t now_ns_ = 0;
  uint64_t last_progress_ns_ = 0;
  uint64_t in_flight_ = 0;
  size_t open_ = 0;
  bool sending_ = true;
  bool measuring_ = false;
  int explained_ = 0;
  uint64_t messages_ = 0;
  Histogram latency_;
  Errors errors_;
};

namespace rmp {
inline constexpr size_t kHeaderBytes = 16;
inline constexpr size_t kHeaderAfterLength = 12;
inline constexpr uint8_t kRequest = 1;
inline constexpr uint8_t kResponse = 2;
inline constexpr uint8_t kPing = 6;
inline constexpr uint8_t kPong = 7;
inline constexpr uint8_t kHello = 9;
inline constexpr uint8_t kWindow = 10;
inline constexpr uint8_t kFirstIgnored = 128;
inline constexpr uint8_t kMore = 1;
}  // namespace rmp

inline constexpr size_t kReadBytes = 256 * 1024;
// Room for what is not an answer: an error's sentence, a ping's payload.
inline constexpr size_t kOtherFrameBytes = 64 * 1024;
inline constexpr uint64_t kSecond = 1'000'000'000;
inline constexpr uint64_t kStallNs = 10 * kSecond;
inline constexpr int kMaxExplained = 8;

inline size_t HeaderBytes(Protocol protocol) {
  return protocol == Protocol::kRmp ? rmp::kHeaderBytes : protocol == Protocol::kPlain ? 4 : 0;
}

inline Generator::Generator(const Options& options)
    : options_(options),
      pattern_(static_cast<size_t>(options.size)),
      header_bytes_(HeaderBytes(options.protocol)),
      max_frame_bytes_(header_bytes_ + std::max(pattern_.size(), kOtherFrameBytes)),
      epoll_fd_(epoll_create1(EPOLL_CLOEXEC)),
      connections_(static_cast<size_t>(options.connections)),
      inbox_(max_frame_bytes_ + kReadBytes) {}

inline Generator::~Generator() {
  for (const Connection& connection : connections_) {
    if (connection.fd >= 0) close(connection.fd);
  }
  close(epoll_fd_);
}

inline bool Generator::Connect() {
  for (Connection& connection : connections_) {
    connection.fd = ConnectTo(options_.host, options_.port);
    if (connection.fd < 0) return false;
    SetNonBlocking(connection.fd);
    connection.index = static_cast<uint32_t>(&connection - connections_.data());
    connection.slots.resize(static_cast<size_t>(options_.depth));
    Watch(connection, EPOLL_CTL_ADD, EPOLLIN);
    ++open_;
  }
  return true;
}

inline bool Generator::Run(Result* result) {
  now_ns_ = last_progress_ns_ = Now();
  StartAll();
  LoopUntil(now_ns_ + static_cast<uint64_t>(options_.warmup * 1e9));

  std::vector<CpuTime> before;
  std::vector<CpuTime> after;
  const bool watched_before = ReadCpu(&before);
  const CpuTime own_before = ReadOwnCpu();
  const uint64_t start_ns = Now();
  measuring_ = true;
  LoopUntil(start_ns + static_cast<uint64_t>(options_.seconds * 1e9));
  measuring_ = false;
  const uint64_t end_ns = Now();
  const bool watched = ReadCpu(&after) && watched_before;
  result->own_cpu = ReadOwnCpu() - own_before;

  Drain();
  CountMissing();
  result->seconds = static_cast<double>(end_ns - start_ns) / 1e9;
  result->messages = messages_;
  result->latency = latency_;
  result->errors = errors_;
  for (size_t i = 0; watched && i < options_.pids.size(); ++i) {
    result->processes.push_back({options_.pids[i], after[i] - before[i]});
  }
  return watched;
}

inline void Generator::StartAll() {
  for (Connection& connection : connections_) {
    for (uint32_t slot = 0; slot < connection.slots.size(); ++slot) QueueRequest(&connection, slot);
    Flush(&connection);
  }
}

inline void Generator::LoopUntil(uint64_t end_ns) {
  while (open_ > 0) {
    Poll(100);
    const uint64_t now_ns = Now();
    if (now_ns >= end_ns || now_ns > last_progress_ns_ + kStallNs) return;
  }
}

// What is in flight still comes home: a request without an answer is an error, also at the end.
inline void Generator::Drain() {
  sending_ = false;
  const uint64_t end_ns = Now() + kStallNs;
  while (in_flight_ > 0 && open_ > 0 && Now() < end_ns) Poll(100);
}

inline void Generator::CountMissing() {
  errors_.missing = in_flight_;
  if (in_flight_ > 0) std::fprintf(stderr, "ringway-load: %" PRIu64 " requests were not answered\n", in_flight_);
}

inline void Generator::Poll(int timeout_ms) {
  std::array<epoll_event, 512> events;
  const int count = epoll_wait(epoll_fd_, events.data(), static_cast<int>(events.size()), timeout_ms);
  for (int i = 0; i < count; ++i) {
    Connection* connection = &connections_[events[i].data.u32];
    if (connection->fd >= 0 && (events[i].events & EPOLLOUT) != 0) FlushUnsent(connection);
    if (connection->fd >= 0 && (events[i].events & ~uint32_t{EPOLLOUT}) != 0) Receive(connection);
  }
}

// Level-triggered: one receive per event. What did not fit is announced again.
inline void Generator::Receive(Connection* connection) {
  const size_t kept = connection->unread.size();
  if (kept > 0) std::memcpy(inbox_.data(), connection->unread.data(), kept);
  const ssize_t got = recv(connection->fd, inbox_.data() + kept, kReadBytes, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    ++errors_.closed;
    Explain(*connection,
            got == 0 ? "the server closed the connection; in this run's messages so far" : "receive failed",
            got == 0 ? messages_ : static_cast<uint64_t>(errno));
    return GiveUp(connection);
  }
  now_ns_ = Now();
  const size_t length = kept + static_cast<size_t>(got);
  const size_t consumed = ConsumeFrames(connection, inbox_.data(), length);
  if (connection->fd < 0) return;
  connection->unread.assign(inbox_.data() + consumed, inbox_.data() + length);
  Flush(connection);
}

inline size_t Generator::ConsumeFrames(Connection* connection, const uint8_t* bytes, size_t length) {
  size_t at = 0;
  while (at < length) {
    const size_t frame_bytes = FrameBytes(bytes + at, length - at);
    const bool too_long = frame_bytes > max_frame_bytes_;
    if (!too_long && (frame_bytes == 0 || frame_bytes > length - at)) break;
    if (too_long || !TakeFrame(connection, bytes + at, frame_bytes)) {
      ++errors_.unexpected;
      Explain(*connection, "not a frame this protocol allows here, of bytes", frame_bytes);
      GiveUp(connection);
      return length;
    }
    at += frame_bytes;
  }
  return at;
}

inline size_t Generator::FrameBytes(const uint8_t* bytes, size_t length) const {
  if (options_.protocol == Protocol::kRawEcho) return pattern_.size();
  return length < 4 ? 0 : size_t{4} + ReadU32(bytes);
}

inline bool Generator::TakeFrame(Connection* connection, const uint8_t* frame, size_t length) {
  if (options_.protocol == Protocol::kRmp) return TakeRmp(connection, frame, length);
  return TakeInOrder(connection, frame + header_bytes_, length - header_bytes_);
}

inline bool Generator::TakeInOrder(Connection* connection, const uint8_t* payload, size_t length) {
  const uint32_t sequence = connection->next_answer;
  const uint32_t slot_index = sequence % static_cast<uint32_t>(options_.depth);
  if (!connection->slots[slot_index].busy) return false;
  ++connection->next_answer;
  const bool right = length == pattern_.size() && pattern_.Matches(payload, connection->index, sequence);
  if (!right) Explain(*connection, "a wrong answer to its message", sequence);
  Settle(connection, slot_index, right);
  return true;
}

inline bool Generator::TakeRmp(Connection* connection, const uint8_t* frame, size_t length) {
  if (length < rmp::kHeaderBytes) return false;
  switch (const uint8_t kind = frame[4]) {
    case rmp::kResponse:
      return TakeRmpResponse(connection, frame, length);
    case rmp::kPing:
      QueuePong(frame, length);
      return true;
    case rmp::kHello:
    case rmp::kWindow:
      return true;
    default:
      return kind >= rmp::kFirstIgnored;
  }
}

inline bool Generator::TakeRmpResponse(Connection* connection, const uint8_t* frame, size_t length) {
  const uint32_t id = ReadU32(frame + 8);
  const uint32_t slot_index = id & 0xffff;
  if (slot_index >= connection->slots.size()) return false;
  const Slot& slot = connection->slots[slot_index];
  if (!slot.busy || id >> 16 != (slot.sequence & 0xffff)) return false;
  const uint32_t status = ReadU32(frame + 12);
  const bool right = status == 0 && (frame[5] & rmp::kMore) == 0 && length == rmp::kHeaderBytes + pattern_.size() &&
                     pattern_.Matches(frame + rmp::kHeaderBytes, connection->index, slot.sequence);
  if (!right) Explain(*connection, "a wrong answer, or one with status", status);
  Settle(connection, slot_index, right);
  return true;
}

inline void Generator::Settle(Connection* connection, uint32_t slot_index, bool right) {
  Slot& slot = connection->slots[slot_index];
  slot.busy = false;
  --in_flight_;
  last_progress_ns_ = now_ns_;
  if (!right) ++errors_.wrong;
  if (right && measuring_) {
    ++messages_;
    latency_.Record(now_ns_ - slot.sent_ns);
  }
  if (sending_) QueueRequest(connection, slot_index);
}

inline uint8_t* Generator::Grow(std::vector<uint8_t>* bytes, size_t more) const {
  bytes->resize(bytes->size() + more);
  return bytes->data() + bytes->size() - more;
}

inline void Generator::QueueRequest(Connection* connection, uint32_t slot_index) {
  const uint32_t sequence = connection->next_sequence++;
  connection->slots[slot_index] = {now_ns_, sequence, true};
  ++in_flight_;
  uint8_t* at = Grow(&outbox_, header_bytes_ + pattern_.size());
  if (options_.protocol == Protocol::kPlain) {
    WriteU32(at, static_cast<uint32_t>(pattern_.size()));
  } else if (options_.protocol == Protocol::kRmp) {
    WriteU32(at, static_cast<uint32_t>(rmp::kHeaderAfterLength + pattern_.size()));
    at[4] = rmp::kRequest;
    at[5] = 0;
    WriteU16(at + 6, static_cast<uint16_t>(options_.route));
    WriteU32(at + 8, (sequence & 0xffff) << 16 | slot_index);
    WriteU32(at + 12, 0);
  }
  pattern_.Write(at + header_bytes_, connection->index, sequence);
}

inline void Generator::QueuePong(const uint8_t* ping, size_t length) {
  uint8_t* at = Grow(&outbox_, length);
  std::memcpy(at, ping, length);
  at[4] = rmp::kPong;
}

inline void Generator::Flush(Connection* connection) {
  if (outbox_.empty()) return;
  size_t sent = 0;
  if (connection->unsent.empty()) {
    const ssize_t taken = send(connection->fd, outbox_.data(), outbox_.size(), MSG_NOSIGNAL);
    // An error other than a full socket shows itself again at the next receive, which counts it.
    if (taken > 0) sent = static_cast<size_t>(taken);
  }
  if (sent < outbox_.size()) {
    if (connection->unsent.empty()) Watch(*connection, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    connection->unsent.insert(connection->unsent.end(), outbox_.begin() + static_cast<ptrdiff_t>(sent), outbox_.end());
  }
  outbox_.clear();
}

inline void Generator::FlushUnsent(Connection* connection) {
  std::vector<uint8_t>& unsent = connection->unsent;
  const ssize_t taken = send(connection->fd, unsent.data(), unsent.size(), MSG_NOSIGNAL);
  if (taken > 0) unsent.erase(unsent.begin(), unsent.begin() + taken);
  if (unsent.empty()) Watch(*connection, EPOLL_CTL_MOD, EPOLLIN);
}

inline void Generator::Watch(const Connection& connection, int operation, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u32 = connection.index;
  epoll_ctl(epoll_fd_, operation, connection.fd, &event);
}

// Its requests in flight stay counted: they are missing at the end.
inline void Generator::GiveUp(Connection* connection) {
  close(connection->fd);
  connection->fd = -1;
  outbox_.clear();
  --open_;
}

inline void Generator::Explain(const Connection& connection, const char* what, uint64_t number) {
  if (++explained_ > kMaxExplained) return;
  std::fprintf(stderr, "ringway-load: connection %" PRIu32 ": %s %" PRIu64 "\n", connection.index, what, number);
}

inline bool Generator::ReadCpu(std::vector<CpuTime>* times) const {
  for (const pid_t pid : options_.pids) {
    const std::optional<CpuTime> time = ReadProcessCpu(pid);
    if (!time) {
      std::fprintf(stderr, "ringway-load: process %d is gone\n", static_cast<int>(pid));
      return false;
    }
    times->push_back(*time);
  }
  return true;
}

inline uint64_t Generator::Now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * kSecond + static_cast<uint64_t>(time.tv_nsec);
}

}  // namespace ringway::bench
