#include "reactor_group.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <future>

#include "connection.h"

namespace ringway {

namespace {

int OpenListeningSocket(const ListenRequest& request, const ConnectionOptions& options, Fd* out) {
  const sockaddr_storage& address = request.address.storage;
  Fd fd(::socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.Valid()) return -errno;
  const int on = 1;
  const bool is_unix = address.ss_family == AF_UNIX;
  if (!is_unix) {
    ::setsockopt(fd.Get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (request.reuse_port && ::setsockopt(fd.Get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) return -errno;
    // Accepted sockets inherit these from the listener: no system call per connection.
    if (options.no_delay) SetNoDelay(fd.Get(), true);
    if (const auto idle = static_cast<int>(options.keep_alive_ms / 1000); idle > 0) SetKeepAlive(fd.Get(), true, idle);
  }
  if (address.ss_family == AF_INET6) {
    const int only = request.ipv6_only ? 1 : 0;
    if (::setsockopt(fd.Get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) != 0) return -errno;
  }
  const auto* name = reinterpret_cast<const sockaddr*>(&address);
  if (::bind(fd.Get(), name, request.address.length) != 0) return -errno;
  if (::listen(fd.Get(), request.backlog) != 0) return -errno;
  *out = std::move(fd);
  return 0;
}

int StreamSocketError(int fd) {
  int type = 0;
  socklen_t length = sizeof type;
  if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0) return -errno;
  return type == SOCK_STREAM ? 0 : -EINVAL;
}

// Never blocks, and does not go to child processes.
int MakeOurs(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
    return -errno;
  return 0;
}

int TakeListeningSocket(const ListenRequest& request, const ConnectionOptions& options, Fd* out) {
  if (StreamSocketError(request.fd) < 0) return -EINVAL;  // as node:net has it, whatever was wrong
  if (const int error = MakeOurs(request.fd); error < 0) return error;
  if (::listen(request.fd, request.backlog) != 0) return -errno;
  if (options.no_delay) SetNoDelay(request.fd, true);
  if (const auto idle = static_cast<int>(options.keep_alive_ms / 1000); idle > 0) SetKeepAlive(request.fd, true, idle);
  out->Reset(request.fd);
  return 0;
}

}  // namespace

void ReactorGroup::ListenerEntry::RemoveFile() {
  // Once: later somebody else's file may have the name. Each reactor comes here, on its own thread.
  if (!path.empty() && !file_removed.exchange(true)) ::unlink(path.c_str());
}

ReactorGroup::~ReactorGroup() { CHECK(threads_.empty()); }

void ReactorGroup::AddReactor(std::unique_ptr<Driver> driver, const ReactorMemory& memory, Reactor::Doorbell doorbell) {
  const auto index = static_cast<uint32_t>(reactors_.size());
  reactors_.push_back(std::make_unique<Reactor>(index, std::move(driver), memory, std::move(doorbell)));
  reactors_.back()->SetPeers(&reactors_);
}

int ReactorGroup::Start(bool external_loop) {
  external_loop_ = external_loop;
  if (external_loop) {
    const int error = reactors_[0]->Start();
    started_ = error == 0;
    return error;
  }
  for (const std::unique_ptr<Reactor>& reactor : reactors_) {
    // A driver belongs to the thread that starts it; whether it could is known before anything relies on it.
    std::promise<int> started;
    std::future<int> result = started.get_future();
    threads_.emplace_back([&reactor = *reactor, started = std::move(started)]() mutable {
      ::pthread_setname_np(::pthread_self(), ("ringway-" + std::to_string(reactor.index())).c_str());
      const int error = reactor.Start();
      started.set_value(error);
      if (error == 0) reactor.Run();
    });
    if (const int error = result.get(); error < 0) {
      threads_.back().join();
      threads_.pop_back();
      return error;
    }
  }
  started_ = true;
  return 0;
}

int ReactorGroup::Listen(const ListenRequest& request, std::shared_ptr<ConnectionOptions> options, uint32_t* id,
                         SocketAddress* bound) {
  ListenRequest actual = request;
  std::vector<Fd> sockets;
  const size_t count = request.reuse_port && !external_loop_ && request.fd < 0 ? reactors_.size() : 1;
  for (size_t i = 0; i < count; ++i) {
    Fd fd;
    const int error =
        request.fd < 0 ? OpenListeningSocket(actual, *options, &fd) : TakeListeningSocket(request, *options, &fd);
    if (error < 0) return error;
    // The others take the port that the first one got.
    actual.address.length = sizeof actual.address.storage;
    if (::getsockname(fd.Get(), reinterpret_cast<sockaddr*>(&actual.address.storage), &actual.address.length) != 0) {
      return -errno;
    }
    sockets.push_back(std::move(fd));
  }
  *id = next_listener_++;
  *bound = actual.address;
  auto entry = std::make_shared<ListenerEntry>();
  if (actual.address.storage.ss_family == AF_UNIX && request.fd < 0) {
    entry->path = reinterpret_cast<const sockaddr_un&>(actual.address.storage).sun_path;
  }
  entry->admission =
      std::make_shared<Admission>(request.max_connections, request.max_connections_per_ip, request.limit_loopback);
  entry->open = std::make_shared<std::atomic<uint32_t>>(static_cast<uint32_t>(count));
  Prepare(*options);
  options->listener = *id;
  options->admission = entry->admission;
  listeners_.emplace(*id, entry);
  // All of them before the first letter: its reactor writes into its own place while we go on.
  for (size_t i = 0; i < count; ++i) entry->sockets.emplace_back(reactors_[i].get(), nullptr);
  for (size_t i = 0; i < count; ++i) {
    // The letter owns the descriptor: a reactor that has stopped reads no mail.
    auto start = [this, entry, i, socket = std::make_shared<Fd>(std::move(sockets[i])), listener_id = *id,
                  is_given = request.fd >= 0,
                  shared = std::shared_ptr<const ConnectionOptions>(options)](Reactor& reactor) {
      entry->sockets[i].second = Listener::Start(
          reactor, std::move(*socket), shared,
          [this, &reactor](Fd fd, const std::shared_ptr<const ConnectionOptions>& accepted, Admission::Ticket ticket) {
            Place(reactor, std::move(fd), accepted, ticket);
          },
          [entry, i, listener_id, &reactor] {
            entry->sockets[i].second = nullptr;
            entry->RemoveFile();
            if (entry->open->fetch_sub(1) == 1) reactor.events().Push(EventKind::kListenerClosed, listener_id);
          },
          is_given ? Listener::Ownership::kShared : Listener::Ownership::kOwn);
    };
    reactors_[i]->Post(std::move(start));
  }
  return 0;
}

void ReactorGroup::CloseListener(uint32_t id) {
  const auto found = listeners_.find(id);
  if (found == listeners_.end()) return;
  const std::shared_ptr<ListenerEntry> entry = found->second;
  listeners_.erase(found);
  for (size_t i = 0; i < entry->sockets.size(); ++i) {
    entry->sockets[i].first->Post([entry, i](Reactor&) {
      entry->RemoveFile();
      if (entry->sockets[i].second != nullptr) entry->sockets[i].second->Close();
    });
  }
}

uint32_t ReactorGroup::ListenerConnections(uint32_t id) const {
  const auto found = listeners_.find(id);
  return found == listeners_.end() ? 0 : found->second->admission->open();
}

void ReactorGroup::Prepare(ConnectionOptions& options) {
  options.accounts = &accounts_;
  if (options.framing.format != FramingFormat::kRaw) return;
  options.credit_frames = static_cast<uint32_t>(limits::raw_credit_frames);
  options.credit_bytes = static_cast<uint32_t>(limits::raw_credit_bytes);
}

int ReactorGroup::Adopt(int fd, std::shared_ptr<ConnectionOptions> options, uint32_t token, uint32_t* reactor) {
  if (const int error = StreamSocketError(fd); error < 0) return error;
  sockaddr_storage peer;
  socklen_t length = sizeof peer;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &length) != 0) return -errno;
  if (const int error = MakeOurs(fd); error < 0) return error;
  Prepare(*options);
  Reactor& there = LeastLoaded();
  there.connections().fetch_add(1, std::memory_order_relaxed);
  *reactor = there.index();
  there.Post([socket = std::make_shared<Fd>(fd), token,
              shared = std::shared_ptr<const ConnectionOptions>(std::move(options))](Reactor& self) {
    Connection::TakeOver(self, std::move(*socket), shared, token);
  });
  return 0;
}

void ReactorGroup::SetFraming(uint32_t reactor, uint32_t slot, uint32_t generation, const FramingOptions& framing) {
  reactors_[reactor]->Post([slot, generation, framing](Reactor& there) {
    if (OperationOwner* owner = there.Find(slot, generation)) owner->SetFraming(framing);
  });
}

uint32_t ReactorGroup::Connect(const SocketAddress& address, std::shared_ptr<ConnectionOptions> options,
                               uint32_t token) {
  options->accounts = &accounts_;
  options->credit_frames = static_cast<uint32_t>(limits::outgoing_credit_frames);
  options->credit_bytes = static_cast<uint32_t>(limits::outgoing_credit_bytes);
  Reactor& there = LeastLoaded();
  // Counted here, or all that is asked for in one turn would go to one reactor.
  there.connections().fetch_add(1, std::memory_order_relaxed);
  there.Post([address, token, shared = std::shared_ptr<const ConnectionOptions>(std::move(options))](Reactor& reactor) {
    Connection::Connect(reactor, address.storage, address.length, shared, token);
  });
  return there.index();
}

void ReactorGroup::Abandon(uint32_t reactor, uint32_t token) {
  reactors_[reactor]->Post([token](Reactor& there) { there.Abandon(token); });
}

void ReactorGroup::Place(Reactor& here, Fd fd, const std::shared_ptr<const ConnectionOptions>& options,
                         Admission::Ticket ticket) {
  Reactor& there = LeastLoaded();
  there.connections().fetch_add(1, std::memory_order_relaxed);
  if (&there == &here) return Connection::Adopt(here, std::move(fd), options, ticket);
  there.Post([socket = std::make_shared<Fd>(std::move(fd)), options, ticket](Reactor& reactor) {
    Connection::Adopt(reactor, std::move(*socket), options, ticket);
  });
}

Reactor& ReactorGroup::LeastLoaded() {
  Reactor* best = reactors_[0].get();
  for (const std::unique_ptr<Reactor>& reactor : reactors_) {
    if (reactor->connections().load(std::memory_order_relaxed) < best->connections().load(std::memory_order_relaxed)) {
      best = reactor.get();
    }
  }
  return *best;
}

void ReactorGroup::Shutdown() {
  if (shut_down_) return;
  shut_down_ = true;
  for (const std::unique_ptr<Reactor>& reactor : reactors_) {
    reactor->Post([](Reactor& self) { self.Stop(true); });
  }
}

void ReactorGroup::Stop() {
  shut_down_ = true;
  for (const std::unique_ptr<Reactor>& reactor : reactors_) {
    reactor->Post([](Reactor& self) { self.Stop(false); });
  }
  if (external_loop_ && started_) {
    // Operations that the kernel still holds must end before their memory goes.
    while (!reactors_[0]->stopped()) reactors_[0]->Tick(false);
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  for (const std::unique_ptr<Reactor>& reactor : reactors_) reactor->DropUntaken();
}

}  // namespace ringway
