#include "support/reactor_bed.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <random>

#include "driver/epoll_driver.h"
#include "driver/uring_driver.h"
#include "support/doctest_last.h"
#include "support/mean_driver.h"
#include "support/uring_refusal.h"

namespace ringway::test {

namespace {

// Far less than what is sent, so that sends come short. With 4 KB the kernel's window closes and now and then is opened
// again only by its probes, seconds apart: two of 140 echoes took over 20 s, and none of 140 with 16 KB.
constexpr int kSmallBufferBytes = 16 * 1024;

std::atomic<uint64_t> passed_ms{0};

std::vector<DriverKind> MakeRealKinds() {
  std::vector<DriverKind> kinds;
  kinds.push_back({"epoll", [] { return std::make_unique<EpollDriver>(DriverOptions{}); }});
  if (UringRefusal().empty()) {
    kinds.push_back({"io_uring", [] {
                       return std::make_unique<UringDriver>(
                           DriverOptions{.receive_buffer_bytes = 4096, .receive_buffers = 16});
                     }});
  }
  return kinds;
}

std::vector<DriverKind> MakeKinds() {
  std::vector<DriverKind> kinds = MakeRealKinds();
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    kinds.push_back({"mean, seed " + std::to_string(seed), [seed] {
                       return std::make_unique<MeanDriver>(
                           MeanDriverOptions{.seed = seed, .receives_at_take = seed % 2 == 1});
                     }});
  }
  return kinds;
}

void SetSmallBuffers(int fd) {
  ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kSmallBufferBytes, sizeof kSmallBufferBytes);
  ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &kSmallBufferBytes, sizeof kSmallBufferBytes);
}

}  // namespace

const std::vector<DriverKind>& DriverKinds() {
  static const auto* kinds = new std::vector<DriverKind>(MakeKinds());
  return *kinds;
}

const std::vector<DriverKind>& RealDriverKinds() {
  static const auto* kinds = new std::vector<DriverKind>(MakeRealKinds());
  return *kinds;
}

size_t CountOpenFds() {
  size_t count = 0;
  DIR* directory = ::opendir("/proc/self/fd");
  REQUIRE(directory != nullptr);
  while (::readdir(directory) != nullptr) ++count;
  ::closedir(directory);
  return count;
}

uint64_t TestNow() { return MonotonicMs() + passed_ms.load(std::memory_order_relaxed); }

void AdvanceTestTime(uint64_t ms) { passed_ms.fetch_add(ms, std::memory_order_relaxed); }

std::string Framed(std::string_view payload) {
  const uint32_t length = htonl(static_cast<uint32_t>(payload.size()));
  std::string frame(reinterpret_cast<const char*>(&length), sizeof length);
  frame.append(payload);
  return frame;
}

std::string RandomBytes(uint64_t seed, size_t length) {
  std::mt19937_64 random(seed);
  std::string bytes(length, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

void Peer::SendFrame(std::string_view payload) { Send(Framed(payload)); }

void Peer::Reset() {
  const linger reset{.l_onoff = 1, .l_linger = 0};
  REQUIRE(::setsockopt(fd_.Get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == 0);
  fd_.Reset();
}

void Peer::Move() {
  if (!fd_.Valid()) return;
  while (!sent_all()) {
    const ssize_t sent = ::send(fd_.Get(), outbox_.data() + sent_, outbox_.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent <= 0) break;
    sent_ += static_cast<size_t>(sent);
  }
  if (sent_all()) {
    outbox_.clear();
    sent_ = 0;
  }
  if (finish_ && outbox_.empty()) {
    finish_ = false;
    ::shutdown(fd_.Get(), SHUT_WR);
  }
  char buffer[16384];
  while (reads && !finished && error == 0) {
    const ssize_t count = ::recv(fd_.Get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (count < 0 && errno == EAGAIN) break;
    if (count < 0) error = errno;
    if (count == 0) finished = true;
    if (count > 0) received.append(buffer, static_cast<size_t>(count));
  }
}

Fd ListenOnLoopback(sockaddr_storage* address, socklen_t* length) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  auto& v4 = reinterpret_cast<sockaddr_in&>(*address);
  *address = {};
  v4.sin_family = AF_INET;
  v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::bind(fd.Get(), reinterpret_cast<sockaddr*>(address), sizeof v4) == 0);
  REQUIRE(::listen(fd.Get(), 1024) == 0);
  *length = sizeof *address;
  REQUIRE(::getsockname(fd.Get(), reinterpret_cast<sockaddr*>(address), length) == 0);
  return fd;
}

Fd Dial(const sockaddr_storage& address, socklen_t length) {
  Fd fd(::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(fd.Valid());
  REQUIRE(::connect(fd.Get(), reinterpret_cast<const sockaddr*>(&address), length) == 0);
  return fd;
}

std::pair<Fd, Fd> TcpPair(bool small) {
  sockaddr_storage address;
  socklen_t length;
  const Fd listener = ListenOnLoopback(&address, &length);
  if (small) SetSmallBuffers(listener.Get());
  Fd theirs(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (small) SetSmallBuffers(theirs.Get());
  REQUIRE(::connect(theirs.Get(), reinterpret_cast<sockaddr*>(&address), length) == 0);
  pollfd poll{listener.Get(), POLLIN, 0};
  REQUIRE(::poll(&poll, 1, 20'000) == 1);
  Fd ours(::accept4(listener.Get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  REQUIRE(ours.Valid());
  return {std::move(ours), std::move(theirs)};
}

ReactorBed::ReactorBed(const DriverKind& kind) : ReactorBed(kind.make()) {}

ReactorBed::ReactorBed(std::unique_ptr<Driver> driver) : fds_before_(CountOpenFds()) {
  reactors_.push_back(std::make_unique<Reactor>(
      0, std::move(driver), js.memory(), [this] { ++doorbells; }, TestNow));
  reactor = reactors_.front().get();
  reactor->SetPeers(&reactors_);
  REQUIRE(reactor->Start() == 0);
}

ReactorBed::~ReactorBed() {
  // Both are the test's, which is over.
  peers.clear();
  js.on_frame = nullptr;
  CHECK_MESSAGE(StopAll(), "the reactor stops");
  CHECK_MESSAGE(reactor->owners() == 0, "owners are left");
  CHECK_MESSAGE(reactor->connections().load() == 0, "connections are still counted");
  CHECK_MESSAGE(reactor->driver().InFlight() == 0, "operations are in flight");
  CHECK_MESSAGE(reactor->pool().bytes_in_use() == 0, "buffers are in use");
  CHECK_MESSAGE(reactor->wheel().size() == 0, "timers are armed");
  CHECK_MESSAGE(accounts.buffered_bytes.load() == 0, "buffered bytes are still counted");
  CHECK_MESSAGE(accounts.partial_bytes.load() == 0, "partial bytes are still counted");
  for (const std::unique_ptr<JsConnection>& connection : js.connections) CHECK_MESSAGE(connection->closed, "told of");
  reactors_.clear();
  CHECK_MESSAGE(CountOpenFds() == fds_before_, "descriptors are left");
}

bool ReactorBed::StopAll() {
  takes = true;
  take_budget = limits::drain_frames;
  if (!reactor->stopped()) reactor->Stop(false);
  if (!Until([this] { return reactor->stopped(); })) return false;
  // A stopped reactor ticks no more; what it had to say is in the ring.
  while (reactor->events().HasOverflow()) {
    js.Take();
    reactor->events().Flush();
  }
  while (js.HasEvents()) js.Take();
  reactor->DropUntaken();
  return true;
}

std::shared_ptr<ConnectionOptions> ReactorBed::Options() const {
  auto options = std::make_shared<ConnectionOptions>();
  options->framing.format = FramingFormat::kLengthField;
  options->framing.initial_bytes_to_strip = 4;
  options->accounts = const_cast<EngineAccounts*>(&accounts);
  options->listener = 1;
  return options;
}

std::unique_ptr<Peer> ReactorBed::Adopt(std::shared_ptr<ConnectionOptions> options, bool small) {
  auto [ours, theirs] = TcpPair(small);
  reactor->connections().fetch_add(1);
  Connection::Adopt(*reactor, std::move(ours), std::move(options), {});
  return std::make_unique<Peer>(std::move(theirs));
}

JsConnection& ReactorBed::Open(std::unique_ptr<Peer>* peer, std::shared_ptr<ConnectionOptions> options, bool small) {
  const size_t before = js.connections.size();
  *peer = Adopt(std::move(options), small);
  peers.push_back(peer->get());
  REQUIRE(Until([&] { return js.connections.size() > before; }));
  return js.Last();
}

void ReactorBed::Turn() {
  for (Peer* peer : peers) peer->Move();
  reactor->Tick(false);
  if (takes) js.Take(take_budget);
  js.ReleaseTaken();
}

// As for a loop that sleeps until the next timer: a reactor that is called later than that forgives its peers the time.
void ReactorBed::Pass(uint64_t ms) {
  constexpr uint64_t kStepMs = 200;  // less than what counts as late
  while (ms > 0) {
    const uint64_t due = reactor->wheel().NextDeadline();
    const uint64_t now = TestNow();
    const uint64_t sleep = due == TimingWheel::kNever ? ms : due > now ? due - now : 0;
    const uint64_t step = std::min(ms, std::max(sleep, kStepMs));
    AdvanceTestTime(step);
    reactor->Tick(false);
    ms -= step;
  }
  Turns(20);
}

}  // namespace ringway::test
