#include "listener.h"

#include <sys/resource.h>
#include <sys/un.h>

#include <algorithm>

#include "connection.h"
#include "support/doctest_last.h"
#include "support/mean_driver.h"
#include "support/reactor_bed.h"

namespace ringway::test {
namespace {

// A listener on the bed's reactor that keeps what it admits there.
struct Listening {
  ReactorBed& bed;
  sockaddr_storage address;
  socklen_t length;
  std::shared_ptr<ConnectionOptions> options = bed.Options();
  Listener* listener = nullptr;
  int closed = 0;
  std::vector<std::unique_ptr<Peer>> peers{};

  explicit Listening(ReactorBed& on, uint32_t most = 1000, uint32_t per_address = 0) : bed(on) {
    Fd fd = ListenOnLoopback(&address, &length);
    options->admission = std::make_shared<Admission>(most, per_address, true);
    listener = Listener::Start(
        *bed.reactor, std::move(fd), options,
        [this](Fd accepted, const std::shared_ptr<const ConnectionOptions>& own, Admission::Ticket ticket) {
          bed.reactor->connections().fetch_add(1);
          Connection::Adopt(*bed.reactor, std::move(accepted), own, ticket);
        },
        [this] { ++closed; });
  }
  // The callbacks refer to this.
  ~Listening() { CHECK(bed.StopAll()); }

  Peer& DialIn() {
    peers.push_back(std::make_unique<Peer>(Dial(address, length)));
    bed.peers.push_back(peers.back().get());
    return *peers.back();
  }
  uint32_t admitted() const { return options->admission->open(); }
};

template <typename Body>
void OnEach(const std::vector<DriverKind>& kinds, Body body) {
  for (const DriverKind& kind : kinds) {
    INFO("driver: " << kind.name);
    ReactorBed bed(kind);
    body(bed);
  }
}

TEST_CASE("Every connection is accepted once, and its place given back when it closes") {
  OnEach(DriverKinds(), [](ReactorBed& bed) {
    Listening listening(bed);
    for (int i = 0; i < 100; ++i) listening.DialIn().SendFrame(std::to_string(i));
    REQUIRE(bed.Until([&] { return bed.js.frames == 100; }));
    CHECK(bed.js.connections.size() == 100);
    CHECK(listening.admitted() == 100);
    std::vector<std::string> heard;
    for (const auto& connection : bed.js.connections) heard.push_back(connection->frames.at(0));
    std::sort(heard.begin(), heard.end());
    CHECK(std::unique(heard.begin(), heard.end()) == heard.end());
    for (const auto& peer : listening.peers) peer->Reset();
    const bool empty = bed.Until([&] { return listening.admitted() == 0; });
    CHECK(empty);
    CHECK(bed.reactor->connections() == 0);
    CHECK(bed.Count(Counter::kAccepted) == 100);
    CHECK(bed.Count(Counter::kClosed) == 100);
  });
}

TEST_CASE("Over maxConnections a connection is closed at accept and counted; a place that is free again is used") {
  OnEach(DriverKinds(), [](ReactorBed& bed) {
    Listening listening(bed, 3);
    for (int i = 0; i < 5; ++i) listening.DialIn();
    REQUIRE(bed.Until([&] { return bed.Count(Counter::kRefusedMaxConnections) == 2; }));
    CHECK(listening.admitted() == 3);
    const auto refused = [&] {
      return std::count_if(listening.peers.begin(), listening.peers.end(),
                           [](const auto& peer) { return peer->finished || peer->error != 0; });
    };
    const bool told = bed.Until([&] { return refused() == 2; });
    CHECK(told);
    const auto admitted = std::find_if(listening.peers.begin(), listening.peers.end(),
                                       [](const auto& peer) { return !peer->finished && peer->error == 0; });
    (*admitted)->Reset();
    REQUIRE(bed.Until([&] { return listening.admitted() == 2; }));
    Peer& next = listening.DialIn();
    next.SendFrame("in");
    const bool in = bed.Until([&] { return bed.js.frames == 1; });
    CHECK(in);
  });
}

TEST_CASE("Over maxConnectionsPerIp too") {
  OnEach(DriverKinds(), [](ReactorBed& bed) {
    Listening listening(bed, 100, 2);
    for (int i = 0; i < 4; ++i) listening.DialIn();
    REQUIRE(bed.Until([&] { return bed.Count(Counter::kRefusedMaxConnectionsPerIp) == 2; }));
    CHECK(listening.admitted() == 2);
    CHECK(bed.Count(Counter::kAccepted) == 2);
  });
}

TEST_CASE("Closing a listener accepts what the kernel holds, then refuses; open connections go on") {
  OnEach(DriverKinds(), [](ReactorBed& bed) {
    Listening listening(bed);
    Peer& early = listening.DialIn();
    REQUIRE(bed.Until([&] { return bed.js.connections.size() == 1; }));
    for (int i = 0; i < 20; ++i) listening.DialIn().SendFrame("waited");
    listening.listener->Close();
    REQUIRE(bed.Until([&] { return listening.closed == 1 && bed.js.frames == 20; }));
    CHECK(bed.Count(Counter::kAccepted) == 21);
    const Fd late(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    CHECK(::connect(late.Get(), reinterpret_cast<sockaddr*>(&listening.address), listening.length) == -1);
    CHECK(errno == ECONNREFUSED);
    early.SendFrame("still here");
    const bool heard = bed.Until([&] { return bed.js.frames == 21; });
    CHECK(heard);
    CHECK(listening.closed == 1);
  });
}

TEST_CASE("Out of descriptors a listener rests, counts, and goes on when there are some") {
  OnEach(RealDriverKinds(), [](ReactorBed& bed) {
    Listening listening(bed);
    for (int i = 0; i < 5; ++i) listening.DialIn();
    rlimit before;
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    // The next number that the kernel would give is the first that it may not.
    const Fd next(::dup(0));
    const rlimit tight{static_cast<rlim_t>(next.Get()), before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &tight) == 0);
    const bool failed = bed.Until([&] { return bed.Count(Counter::kAcceptErrors) > 0; });
    bed.Turns(50);
    const uint64_t errors = bed.Count(Counter::kAcceptErrors);
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK(failed);
    CHECK(errors < 5);  // it rests
    CHECK(bed.js.connections.empty());
    bed.Pass(300);
    const bool accepted = bed.Until([&] { return bed.js.connections.size() == 5; });
    CHECK(accepted);
  });
}

TEST_CASE("JavaScript so far behind that it cannot be told of newcomers: they are refused, not remembered") {
  ReactorBed bed(std::make_unique<MeanDriver>(MeanDriverOptions{.late_percent = 0, .lost_more_percent = 0}));
  Listening listening(bed, 1'000'000);
  bed.takes = false;
  EventRing& events = bed.reactor->events();
  while (events.waiting_events() < limits::max_waiting_events) events.Push(EventKind::kListenerClosed, 0);
  Peer& peer = listening.DialIn();
  const bool refused = bed.Until([&] { return peer.finished || peer.error != 0; });
  CHECK(refused);
  CHECK(bed.Count(Counter::kRefusedMaxConnections) == 1);
  CHECK(listening.admitted() == 0);
  CHECK(bed.reactor->connections() == 0);
  bed.takes = true;
  REQUIRE(bed.Until([&] { return !events.HasOverflow(); }));
  Peer& later = listening.DialIn();
  later.SendFrame("hello");
  const bool heard = bed.Until([&] { return bed.js.frames == 1; });
  CHECK(heard);
}

}  // namespace
}  // namespace ringway::test
