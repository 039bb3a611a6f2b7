// Opens connections and holds them, so that another process can read what they cost the server.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <vector>

#include "options.h"
#include "payload.h"
#include "socket.h"

namespace ringway::bench {

// Sends one message over a blocking socket and checks its echo.
inline bool ExchangeOnce(int fd, const Options& options, uint32_t connection) {
  const size_t size = options.sizes.SizeOf(connection, 0);
  const PayloadPattern pattern(size);
  const size_t header = options.protocol == Protocol::kPlain ? 4 : 0;
  std::vector<uint8_t> message(header + size);
  if (header > 0) WriteU32(message.data(), static_cast<uint32_t>(size));
  pattern.Write(message.data() + header, size, connection, 0);
  std::vector<uint8_t> answer(message.size());
  return send(fd, message.data(), message.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(message.size()) &&
         ReceiveAll(fd, answer.data(), answer.size()) && answer == message;
}

inline size_t CountClosed(const std::vector<int>& fds) {
  size_t closed = 0;
  for (const int fd : fds) {
    uint8_t byte;
    const ssize_t got = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN)) ++closed;
  }
  return closed;
}

// Or for its end.
inline void WaitForLine() {
  char byte = 0;
  while (byte != '\n') {
    const ssize_t got = read(STDIN_FILENO, &byte, 1);
    if (got == 0 || (got < 0 && errno != EINTR)) return;
  }
}

inline void WaitForEndOfInput() {
  char byte;
  while (true) {
    const ssize_t got = read(STDIN_FILENO, &byte, 1);
    if (got == 0 || (got < 0 && errno != EINTR)) return;
  }
}

// Prints one line when all are open, and one with what the server closed meanwhile. Only the last connection carries a
// message (all, with --touch): a server accepts in order, so its echo says that every connection before it was
// accepted.
inline int RunIdle(const Options& options) {
  std::vector<int> fds;
  for (int i = 0; i < options.idle; ++i) {
    const int fd = ConnectTo(options.host, options.port);
    if (fd < 0) return 1;
    fds.push_back(fd);
    const bool last = i + 1 == options.idle;
    if ((options.touch || last) && !ExchangeOnce(fd, options, static_cast<uint32_t>(i))) {
      std::fprintf(stderr, "ringway-load: connection %d got no echo, or a wrong one\n", i);
      return 1;
    }
  }
  std::printf("{\"open\":%zu}\n", fds.size());
  std::fflush(stdout);
  WaitForEndOfInput();
  const size_t closed = CountClosed(fds);
  std::printf("{\"closed\":%zu}\n", closed);
  return closed == 0 ? 0 : 1;
}

}  // namespace ringway::bench
