// All reactors of one engine: starts them, places connections, listens, stops them in order.
//
// Thread rule: everything belongs to the thread that made it (JavaScript's), except Place, which reactors call.
// Lifetime rule: the memory of the rings outlives Stop.
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "connection_options.h"
#include "listener.h"
#include "reactor.h"
#include "socket_address.h"

namespace ringway {

struct ListenRequest {
  int fd = -1;  // a socket that somebody bound, and may still share; instead of an address
  SocketAddress address;
  int backlog = static_cast<int>(limits::backlog);
  bool reuse_port = false;
  bool ipv6_only = false;
  uint32_t max_connections = static_cast<uint32_t>(limits::max_connections);
  uint32_t max_connections_per_ip = static_cast<uint32_t>(limits::max_connections_per_ip);
  bool limit_loopback = false;
};

class ReactorGroup {
 public:
  ReactorGroup() = default;
  // Stop was called, or nothing was started.
  ~ReactorGroup();
  ReactorGroup(const ReactorGroup&) = delete;
  ReactorGroup& operator=(const ReactorGroup&) = delete;

  void AddReactor(std::unique_ptr<Driver> driver, const ReactorMemory& memory, Reactor::Doorbell doorbell);
  // Own threads; or, with `external_loop`, starts the only reactor on this thread, which then ticks it. Returns 0 or a
  // negative errno.
  int Start(bool external_loop);

  // Binds and listens. Returns 0 or a negative errno; *id names the listener, *bound its real address.
  int Listen(const ListenRequest& request, std::shared_ptr<ConnectionOptions> options, uint32_t* id,
             SocketAddress* bound);
  // kListenerClosed follows.
  void CloseListener(uint32_t id);
  uint32_t ListenerConnections(uint32_t id) const;
  // kOpen or kClose with this token follows, from the reactor whose index is returned.
  uint32_t Connect(const SocketAddress& address, std::shared_ptr<ConnectionOptions> options, uint32_t token);
  // A connected stream socket. 0 or a negative errno, then the descriptor stays the caller's; kOpen follows.
  int Adopt(int fd, std::shared_ptr<ConnectionOptions> options, uint32_t token, uint32_t* reactor);
  void SetFraming(uint32_t reactor, uint32_t slot, uint32_t generation, const FramingOptions& framing);
  // Ends that connection if it is not open yet; its kClose follows.
  void Abandon(uint32_t reactor, uint32_t token);

  // Everything closes, what is queued is sent first; each reactor says kStopped. Does not wait.
  void Shutdown();
  // Ends at once what is still there and joins the threads. Does not depend on JavaScript taking events.
  void Stop();

  EngineAccounts& accounts() { return accounts_; }
  const std::vector<std::unique_ptr<Reactor>>& reactors() const { return reactors_; }
  Reactor& reactor(size_t index) { return *reactors_[index]; }

 private:
  struct ListenerEntry {
    std::shared_ptr<Admission> admission;
    std::vector<std::pair<Reactor*, Listener*>> sockets;  // each used on its reactor's thread only
    std::shared_ptr<std::atomic<uint32_t>> open;
    std::string path;  // of a unix socket: its file goes with the listener, as with node:net
    std::atomic<bool> file_removed{false};

    void RemoveFile();
  };

  void Place(Reactor& here, Fd fd, const std::shared_ptr<const ConnectionOptions>& options, Admission::Ticket ticket);
  Reactor& LeastLoaded();
  void Prepare(ConnectionOptions& options);

  EngineAccounts accounts_;
  std::vector<std::unique_ptr<Reactor>> reactors_;
  std::vector<std::thread> threads_;
  std::unordered_map<uint32_t, std::shared_ptr<ListenerEntry>> listeners_;
  uint32_t next_listener_ = 1;
  bool external_loop_ = false;
  bool started_ = false;  // all of them
  bool shut_down_ = false;
};

}  // namespace ringway
