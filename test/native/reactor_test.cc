// What a reactor owes its owners and JavaScript: nothing sleeps that has something to do, nothing is told twice or to
// the wrong one.
#include "reactor.h"

#include <unistd.h>

#include <atomic>
#include <functional>
#include <random>
#include <thread>
#include <utility>

#include "connection.h"
#include "driver/epoll_driver.h"
#include "support/doctest_last.h"
#include "support/mean_driver.h"
#include "support/random_seed.h"
#include "support/reactor_bed.h"

namespace ringway::test {
namespace {

// An owner that writes down what it is told.
class Recorder final : public OperationOwner {
 public:
  explicit Recorder(Reactor& reactor) : reactor_(reactor) { reactor_.Register(*this); }

  void OnCompletion(Completion& completion) override { completions.push_back(completion); }
  void OnTimer(uint64_t now_ms) override { timers.push_back(now_ms); }
  void Flush() override { ++flushes; }
  void Resume() override { ++resumes; }
  void OnCommand(CommandKind kind, const uint32_t*) override { commands.push_back(kind); }
  void Shut(bool) override { Leave(); }
  void Leave() {
    reactor_.Unregister(*this);
    reactor_.FreeLater(*this);
  }

  std::vector<Completion> completions;
  std::vector<uint64_t> timers;
  std::vector<CommandKind> commands;
  int flushes = 0;
  int resumes = 0;

 private:
  Reactor& reactor_;
};

JsConnection To(const OperationOwner& owner) {
  JsConnection to;
  to.slot = owner.slot();
  to.generation = owner.generation();
  return to;
}

template <typename Body>
void OnEach(const std::vector<DriverKind>& kinds, Body body) {
  for (const DriverKind& kind : kinds) {
    INFO("driver: " << kind.name);
    ReactorBed bed(kind);
    body(bed);
  }
}

TEST_CASE("A command reaches the owner it was meant for, and no later one in the same slot") {
  OnEach(DriverKinds(), [](ReactorBed& bed) {
    auto* first = new Recorder(*bed.reactor);
    const JsConnection to_first = To(*first);
    bed.js.Pause(to_first);
    bed.Turns(3);
    CHECK(first->commands == std::vector{CommandKind::kPause});
    first->Leave();
    auto* second = new Recorder(*bed.reactor);
    CHECK(second->slot() == to_first.slot);
    bed.js.Pause(to_first);
    bed.js.Resume(To(*second));
    JsConnection nobody;
    nobody.slot = kSlots - 1;
    bed.js.Pause(nobody);
    bed.Turns(3);
    CHECK(second->commands == std::vector{CommandKind::kResume});
    CHECK(bed.Count(Counter::kStaleCommands) == 2);
  });
}

TEST_CASE("Dirty owners flush once per turn, ready ones resume once; one that leaves is not called") {
  OnEach(DriverKinds(), [](ReactorBed& bed) {
    auto* stays = new Recorder(*bed.reactor);
    auto* leaves = new Recorder(*bed.reactor);
    for (Recorder* owner : {stays, leaves}) {
      bed.reactor->MarkDirty(*owner);
      bed.reactor->MarkDirty(*owner);
      bed.reactor->MarkReady(*owner);
      bed.reactor->ArmTimer(*owner, TestNow() + 1000);
    }
    leaves->Leave();
    bed.Turn();
    CHECK(stays->flushes == 1);
    CHECK(stays->resumes == 1);
    bed.Pass(1100);
    CHECK(stays->timers.size() == 1);
    bed.Turns(5);
    CHECK(stays->flushes == 1);
    CHECK(stays->timers.size() == 1);
  });
}

TEST_CASE("A full reactor refuses newcomers instead of failing") {
  ReactorBed bed(std::make_unique<MeanDriver>(MeanDriverOptions{}));
  std::vector<Recorder*> owners;
  while (bed.reactor->HasFreeSlot()) owners.push_back(new Recorder(*bed.reactor));
  CHECK(owners.size() == kSlots);
  auto options = bed.Options();
  options->admission = std::make_shared<Admission>(10, 0, false);
  Admission::Ticket ticket;
  sockaddr_storage nowhere = {};
  CHECK(options->admission->Enter(nowhere, &ticket) == Admission::Verdict::kAdmitted);
  auto [ours, theirs] = TcpPair(true);
  bed.reactor->connections().fetch_add(1);
  Connection::Adopt(*bed.reactor, std::move(ours), options, ticket);
  Peer peer(std::move(theirs));
  bed.peers.push_back(&peer);
  const bool refused = bed.Until([&] { return peer.finished; });
  CHECK(refused);
  CHECK(bed.Count(Counter::kRefusedMaxConnections) == 1);
  CHECK(options->admission->open() == 0);

  nowhere.ss_family = AF_INET;
  bed.reactor->connections().fetch_add(1);
  Connection::Connect(*bed.reactor, nowhere, sizeof(sockaddr_in), bed.Options(), 9);
  bed.Turns(3);
  REQUIRE(bed.js.unopened.size() == 1);
  CHECK(bed.js.unopened.front().token == 9);
  CHECK(bed.js.unopened.front().error == ENOBUFS);
  CHECK(bed.reactor->connections() == 0);
}

TEST_CASE("The doorbell rings only while JavaScript sleeps, and once") {
  OnEach(DriverKinds(), [](ReactorBed& bed) {
    bed.takes = false;
    bed.reactor->events().Push(EventKind::kListenerClosed, 1);
    bed.Turns(3);
    CHECK(bed.doorbells == 0);
    bed.js.Sleep();
    bed.reactor->events().Push(EventKind::kListenerClosed, 2);
    bed.Turns(3);
    CHECK(bed.doorbells == 1);
    bed.reactor->events().Push(EventKind::kListenerClosed, 3);
    bed.Turns(3);
    CHECK(bed.doorbells == 1);
    bed.takes = true;
    bed.Turn();
    CHECK(bed.js.listeners_closed == std::vector<uint32_t>{1, 2, 3});
  });
}

class HookedDriver final : public MeanDriver {
 public:
  using MeanDriver::MeanDriver;
  void Wait() override {
    if (before_wait) std::exchange(before_wait, nullptr)();
    MeanDriver::Wait();
  }
  std::function<void()> before_wait;
};

TEST_CASE("A pause that JavaScript gave while the reactor slept holds for what wakes it") {
  auto driver = std::make_unique<HookedDriver>(MeanDriverOptions{.late_percent = 0, .lost_more_percent = 0});
  HookedDriver& hooked = *driver;
  ReactorBed bed(std::move(driver));
  std::unique_ptr<Peer> peer;
  const JsConnection& connection = bed.Open(&peer, bed.Options());
  bed.Turns(5);
  hooked.before_wait = [&] {
    bed.js.Pause(connection);
    bed.js.Publish();
    peer->SendFrame("behind the pause");
    peer->Move();
  };
  bed.reactor->Tick(true);
  bed.Turns(20);
  CHECK(connection.frames.empty());
  bed.js.Resume(connection);
  const bool heard = bed.Until([&] { return connection.frames.size() == 1; });
  CHECK(heard);
}

// --- with a thread of its own

// A reactor on its own thread and this thread as JavaScript, which sleeps until the doorbell rings, as Bridge does.
class Threaded {
 public:
  explicit Threaded(std::unique_ptr<Driver> driver) {
    reactors_.push_back(std::make_unique<Reactor>(
        0, std::move(driver), js.memory(), [this] { doorbell.Ring(); }, MonotonicMs));
    reactor = reactors_.front().get();
    reactor->SetPeers(&reactors_);
    options->framing.format = FramingFormat::kLengthField;
    options->framing.initial_bytes_to_strip = 4;
    options->accounts = &accounts;
    options->listener = 1;
    js.Sleep();
    std::atomic<bool> started{false};
    thread_ = std::thread([this, &started] {
      CHECK(reactor->Start() == 0);
      started = true;
      started.notify_one();
      reactor->Run();
    });
    started.wait(false);
  }
  ~Threaded() {
    reactor->Post([](Reactor& self) { self.Stop(false); });
    const bool told = Until([this] { return js.stopped == 1; });
    CHECK_MESSAGE(told, "the reactor says that it stopped");
    thread_.join();
    reactor->DropUntaken();
    CHECK(reactor->driver().InFlight() == 0);
    CHECK(reactor->owners() == 0);
  }

  // One call from Node's loop: Bridge::OnDoorbell.
  void Turn() {
    js.Take();
    js.ReleaseTaken();
    js.Sleep();
    Notify();
  }
  // Bridge::NotifyReactors.
  void Notify() {
    if (reactor->TakeWantsRoom()) {
      reactor->Wake();
    } else if (reactor->HasCommands()) {
      reactor->NotifyCommands();
    }
  }
  // Sleeps in between; false when nobody rang.
  template <typename Condition>
  [[nodiscard]] bool Until(Condition condition) {
    for (;;) {
      Turn();
      if (condition()) return true;
      if (js.HasEvents() || js.HasSpilled()) continue;
      if (!doorbell.Wait()) return false;
    }
  }
  Peer Adopt() {
    auto [ours, theirs] = TcpPair(false);
    reactor->Post([fd = std::make_shared<Fd>(std::move(ours)), this](Reactor& self) {
      self.connections().fetch_add(1);
      Connection::Adopt(self, std::move(*fd), options, {});
    });
    return Peer(std::move(theirs));
  }

  EngineAccounts accounts;
  std::shared_ptr<ConnectionOptions> options = std::make_shared<ConnectionOptions>();
  JsSide js;
  Doorbell doorbell;
  Reactor* reactor = nullptr;

 private:
  std::vector<std::unique_ptr<Reactor>> reactors_;
  std::thread thread_;
};

// Blocks until the peer's next bytes.
std::string ReceiveNext(const Peer& peer) {
  char bytes[4096];
  const ssize_t count = ::recv(peer.fd(), bytes, sizeof bytes, 0);
  return count > 0 ? std::string(bytes, static_cast<size_t>(count)) : std::string();
}

TEST_CASE("A reactor that is about to sleep says first what mail and commands caused") {
  for (const DriverKind& kind : RealDriverKinds()) {
    INFO("driver: " << kind.name);
    Threaded threaded(kind.make());
    // Handed over by another reactor: the client waits for our greeting, so nothing else wakes this one.
    Peer peer = threaded.Adopt();
    REQUIRE(threaded.Until([&] { return threaded.js.connections.size() == 1; }));
    threaded.js.Send(threaded.js.Last(), "hello");
    threaded.js.WantDrain(threaded.js.Last());
    // The drain comes out of the command itself.
    const bool drained = threaded.Until([&] { return threaded.js.Last().drains == 1; });
    CHECK(drained);
    CHECK(ReceiveNext(peer) == "hello");
    threaded.js.Abort(threaded.js.Last());
    const bool closed = threaded.Until([&] { return threaded.js.Last().closed; });
    CHECK(closed);
  }
}

TEST_CASE("A deadline that mail and commands set wakes a sleeping reactor") {
  for (const DriverKind& kind : RealDriverKinds()) {
    INFO("driver: " << kind.name);
    Threaded threaded(kind.make());
    threaded.options->idle_timeout_ms = 1;
    Peer peer = threaded.Adopt();
    const bool idle = threaded.Until([&] { return !threaded.js.connections.empty() && threaded.js.Last().idles > 0; });
    CHECK(idle);
  }
}

// Each side sleeps whenever it can; a wake-up that gets lost once in a hundred thousand hangs this.
TEST_CASE("No wake-up is lost between commands and events") {
  for (const DriverKind& kind : RealDriverKinds()) {
    INFO("driver: " << kind.name);
    Threaded threaded(kind.make());
    Peer peer = threaded.Adopt();
    REQUIRE(threaded.Until([&] { return threaded.js.connections.size() == 1; }));
    constexpr int kRounds = 10'000;
    bool lost = false;
    for (int i = 0; i < kRounds && !lost; ++i) {
      threaded.js.WantDrain(threaded.js.Last());
      if (i % 3 == 0) threaded.js.Send(threaded.js.Last(), "x");
      lost = !threaded.Until([&] { return threaded.js.Last().drains > i; });
    }
    CHECK_FALSE(lost);
    CHECK(threaded.js.Last().drains == kRounds);
  }
}

TEST_CASE("No wake-up is lost when the ring runs full and empty again") {
  for (const DriverKind& kind : RealDriverKinds()) {
    INFO("driver: " << kind.name);
    Threaded threaded(kind.make());
    constexpr int kPeers = 3;
    constexpr size_t kFrames = 3000;
    std::vector<Peer> peers;
    for (int i = 0; i < kPeers; ++i) peers.push_back(threaded.Adopt());
    REQUIRE(threaded.Until([&] { return threaded.js.connections.size() == kPeers; }));
    threaded.js.on_frame = [](const JsSide::Frame&) {};
    std::thread sender([&] {
      const std::string frame = Framed(std::string(8000, 'x'));
      std::string all;
      for (int i = 0; i < 10; ++i) all += frame;
      for (size_t i = 0; i < kFrames / 10; ++i) {
        for (const Peer& peer : peers) {
          for (size_t sent = 0; sent < all.size();) {
            const ssize_t count = ::send(peer.fd(), all.data() + sent, all.size() - sent, MSG_NOSIGNAL);
            if (count <= 0) return;
            sent += static_cast<size_t>(count);
          }
        }
      }
    });
    // JavaScript comes late: the ring is full when it does, so that the reactor sleeps for want of room.
    const bool all = threaded.Until([&] {
      for (int i = 0; i < 20; ++i) std::this_thread::yield();
      return threaded.js.frames == kPeers * kFrames;
    });
    if (!all) {
      for (Peer& peer : peers) peer.Close();
    }
    sender.join();
    CHECK(all);
  }
}

TEST_CASE("Letters are read in order, from any thread") {
  for (const DriverKind& kind : RealDriverKinds()) {
    INFO("driver: " << kind.name);
    Threaded threaded(kind.make());
    std::atomic<int> read{0};
    bool in_order = true;
    int next[2] = {0, 0};
    std::vector<std::thread> senders;
    for (int s = 0; s < 2; ++s) {
      senders.emplace_back([&, s] {
        for (int i = 0; i < 2000; ++i) {
          threaded.reactor->Post([&, s, i](Reactor&) {
            in_order = in_order && next[s]++ == i;
            ++read;
            read.notify_one();
          });
        }
      });
    }
    for (std::thread& sender : senders) sender.join();
    for (int seen = read; seen < 4000; seen = read) read.wait(seen);
    CHECK(in_order);
  }
}

// --- stopping

TEST_CASE("A graceful stop sends what is queued, waits without spinning, and ends although a peer stays") {
  OnEach(DriverKinds(), [](ReactorBed& bed) {
    std::unique_ptr<Peer> reads;
    std::unique_ptr<Peer> stays;
    JsConnection& first = bed.Open(&reads, bed.Options());
    JsConnection& second = bed.Open(&stays, bed.Options());
    const std::string bytes = RandomBytes(1, 200'000);
    bed.js.Send(first, bytes);
    bed.js.Send(second, bytes);
    bed.js.Publish();
    stays->reads = false;
    bed.Turns(2);
    bed.reactor->Stop(true);
    REQUIRE(bed.Until([&] { return reads->finished; }));
    CHECK((reads->received == bytes));
    reads->Close();
    REQUIRE(bed.Until([&] { return first.closed; }));
    CHECK(first.reason() == CloseReason::kEngineClosed);
    CHECK_FALSE(bed.reactor->stopped());
    bed.Turns(50);
    CHECK_FALSE(bed.reactor->HasWork());
    bed.Pass(2100);
    bed.Pass(2100);
    const bool stopped = bed.Until([&] { return bed.reactor->stopped() && bed.js.stopped == 1; });
    CHECK(stopped);
    CHECK(second.closed);
    CHECK(second.reason() == CloseReason::kEngineClosed);
  });
}

TEST_CASE("Stopping frees what nobody will take: letters, commands, large frames") {
  for (const DriverKind& kind : RealDriverKinds()) {
    INFO("driver: " << kind.name);
    JsSide js;
    Reactor reactor(0, kind.make(), js.memory(), [] {});
    REQUIRE(reactor.Start() == 0);
    auto* owner = new Recorder(reactor);
    const JsConnection connection = To(*owner);
    Block* frame = Block::Make(100'000);
    frame->Ref();
    const auto address = reinterpret_cast<uint64_t>(frame);
    reactor.events().PushLargeFrame(owner->slot(), {Low(address), High(address), 0, 100'000, kNoLanding});
    reactor.Stop(false);
    while (!reactor.stopped()) reactor.Tick(true);
    Block* late = Block::Make(100);
    late->Ref();
    js.SendBlock(connection, "late", late, 0, 100);
    js.Publish();
    auto [ours, theirs] = TcpPair(true);
    reactor.Post([fd = std::make_shared<Fd>(std::move(ours))](Reactor&) {});
    reactor.DropUntaken();
    for (Block* block : {frame, late}) {
      CHECK(block->HasOneOwner());
      block->Unref();
    }
    char byte;
    CHECK(::recv(theirs.Get(), &byte, 1, 0) == 0);  // the letter's descriptor is closed
  }
}

}  // namespace
}  // namespace ringway::test
