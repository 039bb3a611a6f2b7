// ringway-echo-backend: the lightest echo server the bench can put behind a relay, so that the relay is what is
// measured. One thread, epoll. --protocol plain sends the bytes back as they come (the echo of a frame is the frame);
// --protocol rmp answers each request with a response of status 0, and pings with pongs.
//
// It is a measuring tool for loopback: it has none of the bounds of a server, except the longest frame.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "payload.h"
#include "socket.h"

namespace ringway::bench {
namespace {

constexpr size_t kReadBytes = 256 * 1024;
constexpr size_t kMaxFrameBytes = 64 << 20;
constexpr size_t kRmpHeaderBytes = 16;
constexpr uint8_t kRequest = 1;
constexpr uint8_t kResponse = 2;
constexpr uint8_t kPing = 6;
constexpr uint8_t kPong = 7;
constexpr uint8_t kHello = 9;
constexpr size_t kHelloBytes = 14;
constexpr uint8_t kNoReply = 2;

struct Connection {
  int fd = -1;
  std::vector<uint8_t> unread;
  std::vector<uint8_t> unsent;
};

class EchoServer {
 public:
  explicit EchoServer(bool rmp) : rmp_(rmp), epoll_fd_(epoll_create1(EPOLL_CLOEXEC)), inbox_(kReadBytes) {}

  bool Listen(int port) {
    listen_fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int on = 1;
    setsockopt(listen_fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    if (bind(listen_fd_, reinterpret_cast<sockaddr*>(&address), length) != 0 || listen(listen_fd_, 1024) != 0 ||
        getsockname(listen_fd_, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
      std::fprintf(stderr, "ringway-echo-backend: cannot listen on 127.0.0.1:%d: %s\n", port, std::strerror(errno));
      return false;
    }
    Watch(listen_fd_, EPOLL_CTL_ADD, EPOLLIN);
    std::printf("listening on 127.0.0.1:%d (native epoll, %s)\n", ntohs(address.sin_port), rmp_ ? "rmp" : "plain");
    std::fflush(stdout);
    return true;
  }

  [[noreturn]] void Run() {
    std::array<epoll_event, 512> events;
    while (true) {
      const int count = epoll_wait(epoll_fd_, events.data(), static_cast<int>(events.size()), -1);
      for (int i = 0; i < count; ++i) Handle(events[i]);
    }
  }

 private:
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
      const int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
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
    if (!rmp_) return Send(connection, inbox_.data(), length);
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

  // Answers in place: a response is its request with another kind and status 0. Answers how many bytes were whole
  // frames.
  size_t AnswerFrames(Connection* connection, uint8_t* bytes, size_t length) {
    size_t at = 0;
    outbox_.clear();
    while (length - at >= 4) {
      const size_t frame_bytes = size_t{4} + ReadU32(bytes + at);
      if (frame_bytes < kRmpHeaderBytes || frame_bytes > kMaxFrameBytes) {
        Close(connection);
        return length;
      }
      if (frame_bytes > length - at) break;
      AnswerFrame(bytes + at, frame_bytes);
      at += frame_bytes;
    }
    if (!outbox_.empty()) Send(connection, outbox_.data(), outbox_.size());
    return at;
  }

  void AnswerFrame(uint8_t* frame, size_t length) {
    switch (frame[4]) {
      case kRequest:
        if ((frame[5] & kNoReply) != 0) return;
        frame[4] = kResponse;
        break;
      case kPing:
        frame[4] = kPong;
        break;
      case kHello:
        if (length < kRmpHeaderBytes + kHelloBytes) return;
        std::memset(frame + kRmpHeaderBytes + 2, 0, kHelloBytes - 2);  // the version stays; no features, no limits
        break;
      default:
        return;
    }
    frame[5] = 0;
    WriteU32(frame + 12, 0);
    outbox_.insert(outbox_.end(), frame, frame + length);
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
    close(connection->fd);
    *connection = Connection{};
  }

  void Watch(int fd, int operation, uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    epoll_ctl(epoll_fd_, operation, fd, &event);
  }

  const bool rmp_;
  const int epoll_fd_;
  int listen_fd_ = -1;
  std::vector<Connection> connections_;  // by descriptor
  std::vector<uint8_t> inbox_;
  std::vector<uint8_t> outbox_;
};

int Main(int argc, char** argv) {
  int port = 0;
  std::string_view protocol = "plain";
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (name == "--port") {
      port = std::atoi(value);
    } else if (name == "--protocol") {
      protocol = value;
    } else {
      protocol = "";
    }
  }
  if (port < 0 || port > 65535 || (protocol != "plain" && protocol != "rmp")) {
    std::fputs("usage: ringway-echo-backend [--port P] [--protocol plain|rmp]   (loopback; port 0: any)\n", stderr);
    return 2;
  }
  std::signal(SIGPIPE, SIG_IGN);
  RaiseDescriptorLimit();
  EchoServer server(protocol == "rmp");
  if (!server.Listen(port)) return 1;
  server.Run();
}

}  // namespace
}  // namespace ringway::bench

int main(int argc, char** argv) { return ringway::bench::Main(argc, argv); }
