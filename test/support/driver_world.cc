#include "support/driver_world.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <set>

#include "base/check.h"
#include "base/fd.h"
#include "driver/epoll_driver.h"
#include "driver/uring_driver.h"
#include "support/fake_driver.h"
#include "support/uring_refusal.h"

namespace ringway::test {
namespace {

// Only a guard: a wake-up that is lost fails the test instead of hanging it.
constexpr int kLostWakeUpMs = 20000;
constexpr int kSendBufferBytes = 4096;

class RealWorld final : public DriverWorld {
 public:
  RealWorld(std::unique_ptr<Driver> driver, bool external_loop)
      : driver_(std::move(driver)), external_loop_(external_loop) {
    CHECK_EQ(driver_->Start(), 0);
  }
  ~RealWorld() override {
    driver_.reset();
    for (const int fd : open_) ::close(fd);
  }

  Driver& driver() override { return *driver_; }

  int Listen() override {
    const int fd = Open(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_in address = Loopback();
    CHECK_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    CHECK_EQ(::listen(fd, 1024), 0);
    return fd;
  }

  int PeerDial(int listener) override {
    auto [address, length] = AddressOf(listener);
    const int fd = Open(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    SmallSendBuffer(fd);
    CHECK_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), length), 0);
    return fd;
  }

  std::pair<int, int> Pair() override {
    const int listener = Listen();
    const int theirs = PeerDial(listener);
    pollfd poll{listener, POLLIN, 0};
    CHECK_EQ(::poll(&poll, 1, kLostWakeUpMs), 1);
    const int ours = Open(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    SmallSendBuffer(ours);
    Close(listener);
    return {ours, theirs};
  }

  int Socket() override { return Open(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)); }

  std::pair<sockaddr_storage, socklen_t> AddressOf(int listener) override {
    sockaddr_storage address{};
    socklen_t length = sizeof(address);
    CHECK_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length), 0);
    return {address, length};
  }

  // Bound and not listening: nobody else can listen there meanwhile.
  std::pair<sockaddr_storage, socklen_t> RefusingAddress() override {
    const int fd = Socket();
    sockaddr_in address = Loopback();
    CHECK_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    return AddressOf(fd);
  }

  int Event() override { return Open(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }
  void RingEvent(int fd) override { CHECK_EQ(::eventfd_write(fd, 1), 0); }
  void ReadEvent(int fd) override {
    eventfd_t count;
    static_cast<void>(!::eventfd_read(fd, &count));
  }

  ssize_t PeerSend(int fd, std::string_view bytes) override {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent < 0 ? -errno : sent;
  }
  ssize_t PeerReceive(int fd, char* bytes, size_t size) override {
    const ssize_t received = ::recv(fd, bytes, size, MSG_DONTWAIT);
    return received < 0 ? -errno : received;
  }
  void PeerReset(int fd) override {
    const linger reset{1, 0};
    CHECK_EQ(::setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    Close(fd);
  }
  void ShutdownWrite(int fd) override { CHECK_EQ(::shutdown(fd, SHUT_WR), 0); }
  void Shutdown(int fd) override { CHECK_EQ(::shutdown(fd, SHUT_RDWR), 0); }
  void Close(int fd) override {
    open_.erase(fd);
    CHECK_EQ(::close(fd), 0);
  }

  void Sleep() override {
    if (!external_loop_) return driver_->Wait();
    driver_->Submit();
    // Even with completions at hand: the descriptor must say so to a loop that does not ask HasReady.
    pollfd poll{driver_->PollFd(), POLLIN, 0};
    int count;
    do {
      count = ::poll(&poll, 1, kLostWakeUpMs);
    } while (count < 0 && errno == EINTR);
    CHECK_EQ(count, 1);
  }

 private:
  static sockaddr_in Loopback() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }

  int Open(int fd) {
    CHECK_GE(fd, 0);
    open_.insert(fd);
    return fd;
  }

  static void SmallSendBuffer(int fd) {
    ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kSendBufferBytes, sizeof(kSendBufferBytes));
  }

  std::unique_ptr<Driver> driver_;
  const bool external_loop_;
  std::set<int> open_;
};

class FakeWorld final : public DriverWorld {
 public:
  explicit FakeWorld(const FakeDriverOptions& options) : fake_(options) { CHECK_EQ(fake_.Start(), 0); }

  Driver& driver() override { return fake_; }
  bool is_fake() const override { return true; }
  int Listen() override { return fake_.Listen(); }
  int PeerDial(int listener) override { return fake_.PeerDial(listener); }
  std::pair<int, int> Pair() override { return fake_.Pair(); }
  int Socket() override { return fake_.Socket(); }
  std::pair<sockaddr_storage, socklen_t> AddressOf(int listener) override { return Store(fake_.AddressOf(listener)); }
  std::pair<sockaddr_storage, socklen_t> RefusingAddress() override { return Store(fake_.RefusingAddress()); }
  int Event() override { return fake_.Event(); }
  void RingEvent(int fd) override { fake_.RingEvent(fd); }
  void ReadEvent(int fd) override { fake_.ReadEvent(fd); }
  ssize_t PeerSend(int fd, std::string_view bytes) override {
    return fake_.PeerSend(fd, {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  }
  ssize_t PeerReceive(int fd, char* bytes, size_t size) override {
    return fake_.PeerReceive(fd, {reinterpret_cast<uint8_t*>(bytes), size});
  }
  void PeerReset(int fd) override { fake_.PeerReset(fd); }
  void ShutdownWrite(int fd) override { fake_.ShutdownWrite(fd); }
  void Shutdown(int fd) override { fake_.Shutdown(fd); }
  void Close(int fd) override { fake_.CloseFd(fd); }
  void Sleep() override { fake_.Wait(); }

 private:
  static std::pair<sockaddr_storage, socklen_t> Store(const sockaddr_in& address) {
    sockaddr_storage storage{};
    std::memcpy(&storage, &address, sizeof(address));
    return {storage, sizeof(address)};
  }

  FakeDriver fake_;
};

std::unique_ptr<DriverWorld> MakeUring(const DriverOptions& options, UringMode mode) {
  // Where this machine allows io_uring at all, every mode must work.
  if (!UringRefusal().empty()) return nullptr;
  DriverOptions own = options;
  own.external_loop = mode != UringMode::kOwnThread;
  return std::make_unique<RealWorld>(std::make_unique<UringDriver>(own, mode), own.external_loop);
}

std::unique_ptr<DriverWorld> MakeEpoll(const DriverOptions& options, bool external_loop) {
  DriverOptions own = options;
  own.external_loop = external_loop;
  return std::make_unique<RealWorld>(std::make_unique<EpollDriver>(own), external_loop);
}

}  // namespace

std::vector<WorldKind> RealWorlds() {
  return {
      {"io_uring, own thread", [](const DriverOptions& options) { return MakeUring(options, UringMode::kOwnThread); }},
      {"io_uring, polled ring",
       [](const DriverOptions& options) { return MakeUring(options, UringMode::kPolledRing); }},
      {"io_uring, polled eventfd",
       [](const DriverOptions& options) { return MakeUring(options, UringMode::kPolledEventfd); }},
      {"epoll, own thread", [](const DriverOptions& options) { return MakeEpoll(options, false); }},
      {"epoll, polled", [](const DriverOptions& options) { return MakeEpoll(options, true); }},
  };
}

namespace {

// The last ones have a completion queue that is always too small.
constexpr uint64_t kSeeds = 20;
constexpr uint64_t kSeedsWithRoom = 15;

WorldKind FakeKind(uint64_t seed, size_t completion_entries) {
  return {"fake, seed " + std::to_string(seed), [=](const DriverOptions& options) {
            return std::make_unique<FakeWorld>(
                FakeDriverOptions{.seed = seed, .driver = options, .completion_entries = completion_entries});
          }};
}

}  // namespace

std::vector<WorldKind> AllWorlds() {
  static const uint64_t random_seed = [] {
    const char* given = std::getenv("RINGWAY_TEST_SEED");
    const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
    std::printf("RINGWAY_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
    return seed;
  }();
  std::vector<WorldKind> worlds = RealWorlds();
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) worlds.push_back(FakeKind(seed, seed > kSeedsWithRoom ? 3 : 0));
  worlds.push_back(FakeKind(random_seed, 0));
  worlds.push_back(FakeKind(random_seed, 3));
  return worlds;
}

void DriverLoop::KeepAccepting(UserData data, int fd) {
  kept_[data.Pack()] = {Op::kAccept, fd};
  driver_.Accept(data, fd);
}

void DriverLoop::KeepReceiving(UserData data, int fd) {
  kept_[data.Pack()] = {Op::kReceive, fd};
  driver_.Receive(data, fd);
}

void DriverLoop::KeepReceivingBlocks(UserData data, int fd, size_t detach_bytes) {
  kept_[data.Pack()] = {Op::kReceive, fd, detach_bytes};
  driver_.ReceiveBlocks(data, fd);
}

void DriverLoop::KeepWatching(UserData data, int fd) {
  kept_[data.Pack()] = {Op::kWatch, fd};
  driver_.Watch(data, fd);
}

void DriverLoop::Release(UserData data) { kept_.erase(data.Pack()); }

void DriverLoop::Turn() {
  world_.Sleep();
  Drain();
}

size_t DriverLoop::Poll() {
  driver_.Submit();
  return Drain();
}

size_t DriverLoop::Drain() {
  Completion batch[16];  // few, so that a batch is handed out in several pieces
  size_t total = 0;
  for (;;) {
    const size_t count = driver_.Reap(batch);
    for (size_t i = 0; i < count; ++i) Handle(batch[i]);
    driver_.EndDispatch();
    // Only now: its buffers are back.
    StartAgain();
    total += count;
    if (count == 0 || !driver_.HasReady()) return total;
  }
}

void DriverLoop::TakeBytes(Slot& slot, Completion& completion) {
  do {
    const std::span<const uint8_t> bytes = driver_.Take(completion);
    slot.received.append(bytes.begin(), bytes.end());
    CHECK_EQ(bytes.empty() ? -EAGAIN : static_cast<int>(bytes.size()), completion.result);
    if (!bytes.empty()) ++slot.data_completions;
    const auto receive = kept_.find(completion.data.Pack());
    if (receive != kept_.end() && receive->second.detach_bytes > 0 && bytes.size() >= receive->second.detach_bytes) {
      if (Block* block = driver_.Detach(completion)) {
        CHECK(block->data() == bytes.data());
        slot.blocks.emplace_back(block, bytes.size());
      }
    }
    if (completion.has_data) ++slot.filled;
    // What more there is may also be left, and is then announced again.
  } while (completion.has_data && slot.filled % 3 != 0);
  completion.has_data = false;
}

void DriverLoop::Handle(Completion& completion) {
  Slot& slot = At(completion.data);
  if (completion.has_data) TakeBytes(slot, completion);
  switch (completion.data.op) {
    case Op::kAccept:
      if (completion.result >= 0) slot.accepted.push_back(completion.result);
      break;
    case Op::kReceive:
      if (!completion.more) {
        ++slot.receive_ends;
        slot.receive_result = completion.result;
        if (completion.result == -ENOBUFS) ++slot.starved;
      }
      break;
    case Op::kSend:
      slot.sent = completion.result;
      break;
    case Op::kConnect:
      slot.connected = completion.result;
      break;
    case Op::kWatch:
      if (completion.result >= 0) ++slot.watched;
      break;
    case Op::kNone:
      CHECK(false && "a completion that nobody waits for");
  }
  slot.completions.push_back(completion);
  const auto kept = kept_.find(completion.data.Pack());
  if (kept == kept_.end() || completion.more) return;
  const bool over = completion.data.op == Op::kReceive && completion.result <= 0 && completion.result != -ENOBUFS;
  if (over || completion.result == -ECANCELED) {
    kept_.erase(kept);
  } else {
    again_.emplace_back(completion.data, kept->second.fd);
  }
}

void DriverLoop::StartAgain() {
  for (const auto& [data, fd] : again_) {
    if (!kept_.contains(data.Pack())) continue;
    if (data.op == Op::kAccept) driver_.Accept(data, fd);
    if (data.op == Op::kReceive) {
      kept_[data.Pack()].detach_bytes > 0 ? driver_.ReceiveBlocks(data, fd) : driver_.Receive(data, fd);
    }
    if (data.op == Op::kWatch) driver_.Watch(data, fd);
  }
  again_.clear();
}

}  // namespace ringway::test
