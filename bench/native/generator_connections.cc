// Connections of the load: opened once, or again and again.
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>

#include "generator.h"
#include "socket.h"

namespace ringway::bench {

bool Generator::Connect() {
  for (int i = 0; i < options_.idle; ++i) {
    idle_fds_.push_back(ConnectTo(options_.host, options_.port));
    if (idle_fds_.back() < 0) return idle_fds_.pop_back(), false;
  }
  for (Connection& connection : connections_) {
    connection.index = static_cast<uint32_t>(&connection - connections_.data());
    ++open_;
    if (churns_) continue;
    connection.fd = ConnectTo(options_.host, options_.port);
    if (connection.fd < 0) return false;
    SetNonBlocking(connection.fd);
    Watch(connection);
  }
  return true;
}

void Generator::Open(Connection* connection) {
  connection->opened_ns = Now();
  connection->fd = StartConnecting(options_.host, options_.port, opened_++, &connection->connecting);
  if (connection->fd < 0) {
    return GiveUp(connection, &result_.errors.closed, "cannot connect, errno", static_cast<uint64_t>(errno));
  }
  Watch(*connection);
  if (!connection->connecting) OnConnected(connection);
}

void Generator::OnConnected(Connection* connection) {
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) {
    return GiveUp(connection, &result_.errors.closed, "cannot connect, errno", static_cast<uint64_t>(error));
  }
  connection->connecting = false;
  if (!sending_) return;
  now_ns_ = Now();
  if (measuring_) result_.connect.Record(now_ns_ - connection->opened_ns);
  for (int i = 0; i < options_.depth; ++i) Request(connection, connection->opened_ns);
  Flush(connection);
}

void Generator::EndCycle(Connection* connection) {
  if (measuring_) ++result_.connects;
  Close(connection);
  if (sending_) {
    Open(connection);
  } else {
    --open_;
  }
}

void Generator::Watch(const Connection& connection) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.u32 = connection.index;
  epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, connection.fd, &event);
}

void Generator::Close(Connection* connection) {
  if (connection->fd >= 0) close(connection->fd);
  connection->fd = -1;
  connection->connecting = false;
  connection->incoming = {};
  if (connection->unsent != nullptr) connection->unsent->Clear();
  outbox_.Clear();
}

// Its requests in flight stay counted: they are missing at the end.
void Generator::GiveUp(Connection* connection, uint64_t* error, const char* what, uint64_t number) {
  ++*error;
  if (++explained_ <= kMaxExplained) {
    std::fprintf(stderr, "ringway-load: connection %" PRIu32 ": %s %" PRIu64 "\n", connection->index, what, number);
  }
  Close(connection);
  --open_;
}

}  // namespace ringway::bench
