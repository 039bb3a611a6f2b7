#include "reactor_group.h"

#include <netinet/tcp.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <random>
#include <thread>

#include "driver/epoll_driver.h"
#include "support/doctest_last.h"
#include "support/mean_driver.h"
#include "support/reactor_bed.h"

namespace ringway::test {
namespace {

// An engine of several reactors, with this thread as JavaScript.
class Engine {
 public:
  Engine(const DriverKind& kind, int reactors) : fds_before_(CountOpenFds()) {
    for (int i = 0; i < reactors; ++i) {
      sides.push_back(std::make_unique<JsSide>(i));
      group->AddReactor(kind.make(), sides.back()->memory(), [this] { doorbell.Ring(); });
      sides.back()->Sleep();
    }
    started = group->Start(false);
  }
  ~Engine() {
    group->Stop();
    for (const std::unique_ptr<Reactor>& reactor : group->reactors()) {
      CHECK_MESSAGE(reactor->owners() == 0, "owners are left");
      CHECK_MESSAGE(reactor->driver().InFlight() == 0, "operations are in flight");
      CHECK_MESSAGE(reactor->pool().bytes_in_use() == 0, "buffers are in use");
    }
    CHECK_MESSAGE(group->accounts().buffered_bytes == 0, "buffered bytes are still counted");
    CHECK_MESSAGE(group->accounts().partial_bytes == 0, "partial bytes are still counted");
    group.reset();
    CHECK_MESSAGE(CountOpenFds() == fds_before_, "descriptors are left");
  }

  static std::shared_ptr<ConnectionOptions> Options() {
    auto options = std::make_shared<ConnectionOptions>();
    options->framing.format = FramingFormat::kLengthField;
    options->framing.initial_bytes_to_strip = 4;
    return options;
  }
  static ListenRequest Loopback() {
    ListenRequest request;
    auto& v4 = reinterpret_cast<sockaddr_in&>(request.address.storage);
    v4.sin_family = AF_INET;
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    request.address.length = sizeof v4;
    return request;
  }

  void Turn() {
    for (size_t i = 0; i < sides.size(); ++i) {
      sides[i]->Take();
      sides[i]->ReleaseTaken();
      sides[i]->Sleep();
      Reactor& reactor = group->reactor(i);
      if (reactor.TakeWantsRoom()) {
        reactor.Wake();
      } else if (reactor.HasCommands()) {
        reactor.NotifyCommands();
      }
    }
  }
  template <typename Condition>
  [[nodiscard]] bool Until(Condition condition) {
    for (;;) {
      Turn();
      if (condition()) return true;
      const bool more = std::any_of(sides.begin(), sides.end(),
                                    [](const auto& side) { return side->HasEvents() || side->HasSpilled(); });
      if (!more && !doorbell.Wait()) return false;
    }
  }
  size_t Opened() const {
    size_t count = 0;
    for (const auto& side : sides) count += side->connections.size();
    return count;
  }
  uint64_t Count(Counter counter) const {
    uint64_t count = 0;
    for (const auto& reactor : group->reactors()) count += reactor->counters().Get(counter);
    return count;
  }

  std::vector<std::unique_ptr<JsSide>> sides;
  Doorbell doorbell;
  std::unique_ptr<ReactorGroup> group = std::make_unique<ReactorGroup>();
  int started = 0;

 private:
  const size_t fds_before_;
};

template <typename Body>
void OnEachDriver(int reactors, Body body) {
  for (const DriverKind& kind : RealDriverKinds()) {
    INFO("driver: " << kind.name);
    Engine engine(kind, reactors);
    REQUIRE(engine.started == 0);
    body(engine);
  }
}

TEST_CASE("Connections of one socket are spread over all reactors, each with the fewest first") {
  OnEachDriver(3, [](Engine& engine) {
    uint32_t id = 0;
    SocketAddress bound;
    REQUIRE(engine.group->Listen(Engine::Loopback(), Engine::Options(), &id, &bound) == 0);
    std::vector<Fd> peers;
    for (int i = 0; i < 30; ++i) peers.push_back(Dial(bound.storage, bound.length));
    REQUIRE(engine.Until([&] { return engine.Opened() == 30; }));
    for (const auto& side : engine.sides) CHECK(side->connections.size() == 10);
    CHECK(engine.group->ListenerConnections(id) == 30);
    // Those of one reactor leave: newcomers go there.
    for (const auto& connection : engine.sides[1]->connections) engine.sides[1]->Abort(*connection);
    REQUIRE(engine.Until([&] { return engine.group->reactor(1).connections() == 0; }));
    for (int i = 0; i < 10; ++i) peers.push_back(Dial(bound.storage, bound.length));
    REQUIRE(engine.Until([&] { return engine.Opened() == 40; }));
    CHECK(engine.sides[1]->connections.size() == 20);
  });
}

TEST_CASE("With reusePort each reactor has a socket of its own, on one port") {
  OnEachDriver(3, [](Engine& engine) {
    ListenRequest request = Engine::Loopback();
    request.reuse_port = true;
    for (int round = 0; round < 20; ++round) {
      uint32_t id = 0;
      SocketAddress bound;
      REQUIRE(engine.group->Listen(request, Engine::Options(), &id, &bound) == 0);
      const Fd peer = Dial(bound.storage, bound.length);
      const size_t opened = static_cast<size_t>(round) + 1;
      REQUIRE(engine.Until([&] { return engine.Opened() == opened; }));
      engine.group->CloseListener(id);
      const bool closed = engine.Until([&] {
        size_t count = 0;
        for (const auto& side : engine.sides) count += side->listeners_closed.size();
        return count == opened;
      });
      CHECK(closed);
    }
  });
}

TEST_CASE("An address in use is an error, and a second engine's listener does not take the port") {
  OnEachDriver(2, [](Engine& engine) {
    uint32_t id = 0;
    SocketAddress bound;
    REQUIRE(engine.group->Listen(Engine::Loopback(), Engine::Options(), &id, &bound) == 0);
    ListenRequest again;
    again.address = bound;
    SocketAddress other;
    CHECK(engine.group->Listen(again, Engine::Options(), &id, &other) == -EADDRINUSE);
  });
}

// The one listening TCP socket of this process.
int WaitersAtMost() {
  for (int fd = 3; fd < 1024; ++fd) {
    int listening = 0;
    socklen_t length = sizeof listening;
    if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) != 0 || listening == 0) continue;
    // Of a listening socket the kernel tells its backlog here.
    tcp_info info = {};
    length = sizeof info;
    REQUIRE(::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0);
    return static_cast<int>(info.tcpi_sacked);
  }
  return -1;
}

int SystemsMost() {
  std::ifstream file("/proc/sys/net/core/somaxconn");
  int most = 0;
  file >> most;
  return most;
}

TEST_CASE("backlog: so many connections wait with the kernel, as far as it allows") {
  OnEachDriver(1, [](Engine& engine) {
    uint32_t id;
    SocketAddress bound;
    REQUIRE(engine.group->Listen(Engine::Loopback(), Engine::Options(), &id, &bound) == 0);
    CHECK(WaitersAtMost() == std::min(static_cast<int>(limits::backlog), SystemsMost()));
  });
}

TEST_CASE("rawCreditFrames, rawCreditBytes: a connection that is not framed has another share of a turn") {
  OnEachDriver(1, [](Engine& engine) {
    uint32_t id;
    SocketAddress bound;
    const auto framed = Engine::Options();
    const auto raw = Engine::Options();
    raw->framing = {};
    raw->framing.format = FramingFormat::kRaw;
    for (const auto& options : {framed, raw})
      REQUIRE(engine.group->Listen(Engine::Loopback(), options, &id, &bound) == 0);
    CHECK(framed->credit_frames == limits::credit_frames);
    CHECK(framed->credit_bytes == limits::credit_bytes);
    CHECK(raw->credit_frames == limits::raw_credit_frames);
    CHECK(raw->credit_bytes == limits::raw_credit_bytes);
  });
}

TEST_CASE("A unix socket's file goes with its listener") {
  OnEachDriver(2, [](Engine& engine) {
    char folder[] = "/tmp/ringway-test-XXXXXX";
    REQUIRE(::mkdtemp(folder) != nullptr);
    const std::string path = std::string(folder) + "/socket";
    ListenRequest request;
    auto& local = reinterpret_cast<sockaddr_un&>(request.address.storage);
    local.sun_family = AF_UNIX;
    path.copy(local.sun_path, sizeof local.sun_path - 1);
    request.address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
    uint32_t id = 0;
    SocketAddress bound;
    REQUIRE(engine.group->Listen(request, Engine::Options(), &id, &bound) == 0);
    const Fd peer = Dial(request.address.storage, request.address.length);
    REQUIRE(engine.Until([&] { return engine.Opened() == 1; }));
    engine.group->CloseListener(id);
    const bool closed = engine.Until([&] { return !engine.sides[0]->listeners_closed.empty(); });
    CHECK(closed);
    CHECK(::access(path.c_str(), F_OK) == -1);
    CHECK(::rmdir(folder) == 0);
  });
}

TEST_CASE("Outgoing connections asked for in one turn are spread too") {
  OnEachDriver(3, [](Engine& engine) {
    sockaddr_storage address;
    socklen_t length;
    const Fd listener = ListenOnLoopback(&address, &length);
    SocketAddress to;
    to.storage = address;
    to.length = length;
    for (uint32_t token = 1; token <= 30; ++token) engine.group->Connect(to, Engine::Options(), token);
    REQUIRE(engine.Until([&] { return engine.Opened() == 30; }));
    for (const auto& side : engine.sides) CHECK(side->connections.size() == 10);
  });
}

TEST_CASE("Stopping in the middle of traffic joins, and leaves no descriptor, operation or buffer") {
  OnEachDriver(3, [](Engine& engine) {
    for (const auto& side : engine.sides) {
      side->on_frame = [&side](const JsSide::Frame& frame) { side->Send(frame.connection, Framed(frame.bytes)); };
    }
    uint32_t id = 0;
    SocketAddress bound;
    REQUIRE(engine.group->Listen(Engine::Loopback(), Engine::Options(), &id, &bound) == 0);
    std::atomic<bool> over{false};
    std::vector<std::thread> clients;
    for (int c = 0; c < 2; ++c) {
      clients.emplace_back([&, c] {
        std::mt19937_64 random(static_cast<uint64_t>(c));
        std::vector<std::unique_ptr<Peer>> peers;
        while (!over) {
          if (peers.size() < 30 || random() % 50 == 0) {
            Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
            if (::connect(fd.Get(), reinterpret_cast<sockaddr*>(&bound.storage), bound.length) != 0) continue;
            peers.push_back(std::make_unique<Peer>(std::move(fd)));
          }
          const size_t at = random() % peers.size();
          if (peers[at]->sent_all()) {
            peers[at]->SendFrame(std::string(random() % 100 == 0 ? 150'000 : random() % 5000, 'x'));
          }
          peers[at]->reads = random() % 4 != 0;
          peers[at]->Move();
          if (random() % 100 == 0) peers.erase(peers.begin() + static_cast<ptrdiff_t>(at));
        }
      });
    }
    const bool busy = engine.Until([&] { return engine.Count(Counter::kFramesReceived) > 2000; });
    CHECK(busy);
    engine.group->Stop();
    over = true;
    for (std::thread& client : clients) client.join();
  });
}

TEST_CASE("A graceful shutdown tells JavaScript the end of everything") {
  OnEachDriver(3, [](Engine& engine) {
    uint32_t id = 0;
    SocketAddress bound;
    REQUIRE(engine.group->Listen(Engine::Loopback(), Engine::Options(), &id, &bound) == 0);
    std::vector<Fd> peers;
    for (int i = 0; i < 9; ++i) peers.push_back(Dial(bound.storage, bound.length));
    REQUIRE(engine.Until([&] { return engine.Opened() == 9; }));
    for (const auto& side : engine.sides) {
      for (const auto& connection : side->connections) side->Send(*connection, "goodbye");
    }
    engine.Turn();
    engine.group->Shutdown();
    std::thread reader([&] {
      for (Fd& peer : peers) {
        char bytes[100];
        CHECK(::recv(peer.Get(), bytes, sizeof bytes, MSG_WAITALL) == 7);
        peer.Reset();
      }
    });
    const bool stopped = engine.Until([&] {
      return std::all_of(engine.sides.begin(), engine.sides.end(), [](const auto& side) { return side->stopped == 1; });
    });
    reader.join();
    CHECK(stopped);
    for (const auto& side : engine.sides) {
      for (const auto& connection : side->connections) {
        CHECK(connection->closed);
        CHECK(connection->reason() == CloseReason::kEngineClosed);
      }
    }
  });
}

class RefusingDriver final : public MeanDriver {
 public:
  RefusingDriver() : MeanDriver({}) {}
  int Start() override { return -EMFILE; }
  // It has nothing to submit to.
  void Submit() override { std::abort(); }
};

TEST_CASE("An engine that cannot start says why and can be stopped") {
  const DriverKind refusing{"refusing", [] { return std::make_unique<RefusingDriver>(); }};
  SUBCASE("threads") {
    Engine engine(refusing, 2);
    CHECK(engine.started == -EMFILE);
  }
  SUBCASE("one of several") {
    int made = 0;
    const DriverKind second{"second", [&]() -> std::unique_ptr<Driver> {
                              if (++made == 1) return std::make_unique<EpollDriver>(DriverOptions{});
                              return std::make_unique<RefusingDriver>();
                            }};
    Engine engine(second, 2);
    CHECK(engine.started == -EMFILE);
  }
  SUBCASE("somebody else's loop") {
    JsSide js;
    ReactorGroup group;
    group.AddReactor(refusing.make(), js.memory(), [] {});
    CHECK(group.Start(true) == -EMFILE);
    group.Stop();
  }
}

}  // namespace
}  // namespace ringway::test
