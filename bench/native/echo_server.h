// An echo server without the bounds of one, except the longest frame: a measuring tool for loopback. One thread, epoll.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <utility>
#include <vector>

#include "delayed_answers.h"
#include "payload.h"
#include "rmp.h"
#include "socket.h"

namespace ringway::bench {

struct EchoOptions {
  int port = 0;
  bool rmp = false;  // false: the bytes go back as they come
  int partials = 0;  // partial responses before an empty final one; 0: one response with the payload
  int delay_ms = 0;  // before each response
};

class EchoServer {
 public:
  explicit EchoServer(const EchoOptions& options)
      : options_(options), epoll_fd_(epoll_create1(EPOLL_CLOEXEC)), inbox_(kReadBytes) {}

  // False, with a line on stderr, when the port is taken.
  bool Listen() {
    listen_fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int on = 1;
    setsockopt(listen_fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(options_.port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    if (bind(listen_fd_, reinterpret_cast<sockaddr*>(&address), length) != 0 || listen(listen_fd_, 4096) != 0 ||
        getsockname(listen_fd_, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
      std::fprintf(stderr, "ringway-echo-backend: cannot listen on 127.0.0.1:%d: %s\n", options_.port,
                   std::strerror(errno));
      return false;
    }
    Watch(listen_fd_, EPOLL_CTL_ADD, EPOLLIN);
    std::printf("listening on 127.0.0.1:%d (native epoll, %s)\n", ntohs(address.sin_port),
                options_.rmp ? "rmp" : "plain");
    std::fflush(stdout);
    return true;
  }

  [[noreturn]] void Run() {
    std::array<epoll_event, 512> events;
    while (true) {
      const int count = epoll_wait(epoll_fd_, events.data(), static_cast<int>(events.size()), TimeoutMs());
      for (int i = 0; i < count; ++i) Handle(events[i]);
      SendDue();
    }
  }

 private:
  static constexpr size_t kReadBytes = 256 * 1024;
  static constexpr size_t kMaxFrameBytes = 64 << 20;

  struct Connection {
    int fd = -1;
    std::vector<uint8_t> unread;
    std::vector<uint8_t> unsent;
  };

  void Handle(const epoll_event& event) {
    const int fd = event.data.fd;
    if (fd == listen_fd_) return Accept();
    Connection* connection = &connections_[static_cast<size_t>(fd)];
    if ((event.events & EPOLLOUT) != 0) FlushUnsent(connection);
    if ((event.events & EPOLLIN) != 0) Receive(connection);
    if ((event.events & (EPOLLERR | EPOLLHUP)) != 0 && (event.events & EPOLLIN) == 0) Close(connection);
  }

  void Accept() {
    while (true) {
      const int fd = accept4(listen_fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      SetNoDelay(fd);
      if (connections_.size() <= static_cast<size_t>(fd)) connections_.resize(static_cast<size_t>(fd) + 1);
      connections_[static_cast<size_t>(fd)].fd = fd;
      Watch(fd, EPOLL_CTL_ADD, EPOLLIN);
    }
  }

  void Receive(Connection* connection) {
    const ssize_t got = recv(connection->fd, inbox_.data(), inbox_.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) return Close(connection);
    const auto length = static_cast<size_t>(got);
    if (!options_.rmp) return Send(connection, inbox_.data(), length);
    if (connection->unread.empty()) {
      const size_t consumed = AnswerFrames(connection, inbox_.data(), length);
      if (connection->fd >= 0) connection->unread.assign(inbox_.data() + consumed, inbox_.data() + length);
    } else {
      std::vector<uint8_t> joined = std::move(connection->unread);
      joined.insert(joined.end(), inbox_.begin(), inbox_.begin() + got);
      const size_t consumed = AnswerFrames(connection, joined.data(), joined.size());
      if (connection->fd >= 0) connection->unread.assign(joined.data() + consumed, joined.data() + joined.size());
    }
  }

  // Answers how many bytes were whole frames.
  size_t AnswerFrames(Connection* connection, uint8_t* bytes, size_t length) {
    size_t at = 0;
    outbox_.clear();
    while (length - at >= 4) {
      const size_t frame_bytes = size_t{4} + ReadU32(bytes + at);
      if (frame_bytes < rmp::kHeaderBytes || frame_bytes > kMaxFrameBytes) {
        Close(connection);
        return length;
      }
      if (frame_bytes > length - at) break;
      AnswerFrame(connection->fd, bytes + at, frame_bytes);
      at += frame_bytes;
    }
    if (!outbox_.empty()) Send(connection, outbox_.data(), outbox_.size());
    return at;
  }

  void AnswerFrame(int fd, uint8_t* frame, size_t length) {
    switch (frame[4]) {
      case rmp::kRequest:
        if ((frame[5] & rmp::kNoReply) != 0) return;
        if (options_.delay_ms == 0) return Respond(frame, length);
        return delayed_.Add({fd, ReadU32(frame + 8), NowNs() + DelayNs(), std::vector<uint8_t>(frame, frame + length)});
      case rmp::kCancel:
        return AnswerCancel(fd, ReadU32(frame + 8));
      case rmp::kPing:
        return SendBack(frame, length, rmp::kPong, 0);
      case rmp::kHello:
        if (length < rmp::kHeaderBytes + rmp::kHelloBytes) return;
        // The version stays; no features, no limits.
        std::memset(frame + rmp::kHeaderBytes + 2, 0, rmp::kHelloBytes - 2);
        return SendBack(frame, length, rmp::kHello, 0);
      default:
        return;
    }
  }

  void Respond(uint8_t* request, size_t length) {
    if (options_.partials == 0) return SendBack(request, length, rmp::kResponse, rmp::kOk);
    const uint8_t* payload = request + rmp::kHeaderBytes;
    const size_t payload_bytes = length - rmp::kHeaderBytes;
    for (int number = 0; number < options_.partials; ++number) {
      uint8_t* at = Append(rmp::kHeaderBytes + 4 + payload_bytes);
      rmp::Write(at, {rmp::kResponse, rmp::kMore, RouteOf(request), ReadU32(request + 8), rmp::kOk, 4 + payload_bytes});
      WriteU32(at + rmp::kHeaderBytes, static_cast<uint32_t>(number));
      std::memcpy(at + rmp::kHeaderBytes + 4, payload, payload_bytes);
    }
    RespondEmpty(request, rmp::kOk);
  }

  void RespondEmpty(const uint8_t* request, uint32_t status) {
    rmp::Write(Append(rmp::kHeaderBytes), {rmp::kResponse, 0, RouteOf(request), ReadU32(request + 8), status, 0});
  }

  // In place: a response is its request with another kind and a status.
  void SendBack(uint8_t* frame, size_t length, uint8_t kind, uint32_t status) {
    frame[4] = kind;
    frame[5] = 0;
    WriteU32(frame + 12, status);
    outbox_.insert(outbox_.end(), frame, frame + length);
  }

  void AnswerCancel(int fd, uint32_t id) {
    if (const auto request = delayed_.Cancel(fd, id)) RespondEmpty(request->data(), rmp::kCancelled);
  }

  // In milliseconds, rounded up, as epoll has it.
  int TimeoutMs() const {
    if (delayed_.empty()) return -1;
    const uint64_t now_ns = NowNs();
    return delayed_.next_due_ns() <= now_ns ? 0 : static_cast<int>((delayed_.next_due_ns() - now_ns) / 1'000'000 + 1);
  }

  void SendDue() {
    if (delayed_.empty()) return;
    const uint64_t now_ns = NowNs();
    while (auto answer = delayed_.TakeDue(now_ns)) {
      outbox_.clear();
      Respond(answer->request.data(), answer->request.size());
      Send(&connections_[static_cast<size_t>(answer->fd)], outbox_.data(), outbox_.size());
    }
  }

  static uint16_t RouteOf(const uint8_t* frame) { return static_cast<uint16_t>(frame[6] << 8 | frame[7]); }

  uint8_t* Append(size_t length) {
    outbox_.resize(outbox_.size() + length);
    return outbox_.data() + outbox_.size() - length;
  }

  uint64_t DelayNs() const { return static_cast<uint64_t>(options_.delay_ms) * 1'000'000; }

  static uint64_t NowNs() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
  }

  void Send(Connection* connection, const uint8_t* bytes, size_t length) {
    size_t sent = 0;
    if (connection->unsent.empty()) {
      const ssize_t taken = send(connection->fd, bytes, length, MSG_NOSIGNAL);
      if (taken > 0) sent = static_cast<size_t>(taken);
    }
    if (sent == length) return;
    if (connection->unsent.empty()) Watch(connection->fd, EPOLL_CTL_MOD, EPOLLOUT);  // reads again when it is sent
    connection->unsent.insert(connection->unsent.end(), bytes + sent, bytes + length);
  }

  void FlushUnsent(Connection* connection) {
    std::vector<uint8_t>& unsent = connection->unsent;
    const ssize_t taken = send(connection->fd, unsent.data(), unsent.size(), MSG_NOSIGNAL);
    if (taken > 0) unsent.erase(unsent.begin(), unsent.begin() + taken);
    if (unsent.empty()) Watch(connection->fd, EPOLL_CTL_MOD, EPOLLIN);
  }

  void Close(Connection* connection) {
    if (connection->fd < 0) return;
    if (!delayed_.empty()) delayed_.CancelAll(connection->fd);
    close(connection->fd);
    *connection = Connection{};
  }

  void Watch(int fd, int operation, uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    epoll_ctl(epoll_fd_, operation, fd, &event);
  }

  const EchoOptions options_;
  const int epoll_fd_;
  int listen_fd_ = -1;
  std::vector<Connection> connections_;  // by descriptor
  DelayedAnswers delayed_;
  std::vector<uint8_t> inbox_;
  std::vector<uint8_t> outbox_;
};

}  // namespace ringway::bench
