// One reactor on this thread, JavaScript's side of it, and peers at the other ends of real sockets. Time is the test's.
#pragma once

#include <sys/socket.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "connection.h"
#include "listener.h"
#include "reactor.h"
#include "support/js_side.h"

namespace ringway::test {

struct DriverKind {
  std::string name;
  // A driver that is not started.
  std::function<std::unique_ptr<Driver>()> make;
};

// epoll, io_uring (where this machine allows it), and the mean driver with several seeds.
const std::vector<DriverKind>& DriverKinds();
// epoll and io_uring: for what depends on threads or on the kernel alone.
const std::vector<DriverKind>& RealDriverKinds();

size_t CountOpenFds();
// The time that reactors of the tests are told.
uint64_t TestNow();
void AdvanceTestTime(uint64_t ms);

// The other end of a connection. Never blocks; what does not fit into the kernel's buffers waits here for Move.
class Peer {
 public:
  explicit Peer(Fd fd) : fd_(std::move(fd)) {}

  void Send(std::string_view bytes) { outbox_.append(bytes); }
  void SendFrame(std::string_view payload);
  void Finish() { finish_ = true; }  // FIN behind what waits
  void Reset();
  void Close() { fd_.Reset(); }
  // Sends what can be sent and, unless `reads` is false, reads what can be read.
  void Move();

  int fd() const { return fd_.Get(); }
  bool sent_all() const { return sent_ == outbox_.size(); }
  bool reads = true;
  std::string received;
  bool finished = false;  // FIN came
  int error = 0;          // errno of a receive

 private:
  Fd fd_;
  std::string outbox_;
  size_t sent_ = 0;  // of it
  bool finish_ = false;
};

// {ours, the peer's} over loopback TCP; small: socket buffers of a few KB.
std::pair<Fd, Fd> TcpPair(bool small);
Fd ListenOnLoopback(sockaddr_storage* address, socklen_t* length);
Fd Dial(const sockaddr_storage& address, socklen_t length);

class ReactorBed {
 public:
  explicit ReactorBed(const DriverKind& kind);
  explicit ReactorBed(std::unique_ptr<Driver> driver);
  // Stops the reactor and checks that nothing is left: no owner, operation, buffer, account or descriptor.
  ~ReactorBed();

  std::shared_ptr<ConnectionOptions> Options() const;
  // A connection from options; JavaScript has not heard of it yet.
  std::unique_ptr<Peer> Adopt(std::shared_ptr<ConnectionOptions> options, bool small = true);
  // …and it has.
  JsConnection& Open(std::unique_ptr<Peer>* peer, std::shared_ptr<ConnectionOptions> options, bool small = true);

  // One tick, one look at the events (unless `takes` is false), one move of each peer given to Watch.
  void Turn();
  // False: 20 s were not enough.
  template <typename Condition>
  [[nodiscard]] bool Until(Condition condition) {
    const uint64_t give_up = MonotonicMs() + 20'000;
    while (!condition()) {
      if (MonotonicMs() > give_up) return false;
      Turn();
    }
    return true;
  }
  void Turns(int count) {
    while (count-- > 0) Turn();
  }
  // Lets time pass with nobody looking, then a few turns.
  void Pass(uint64_t ms);
  bool StopAll();

  uint64_t Count(Counter counter) const { return reactor->counters().Get(counter); }

  EngineAccounts accounts;
  JsSide js;
  bool takes = true;
  size_t take_budget = limits::drain_frames;
  std::vector<Peer*> peers;  // moved at each turn
  Reactor* reactor = nullptr;
  int doorbells = 0;

 private:
  std::vector<std::unique_ptr<Reactor>> reactors_;  // the one
  const size_t fds_before_;
};

// A frame of the tests: four bytes of length, then the payload.
std::string Framed(std::string_view payload);
std::string RandomBytes(uint64_t seed, size_t length);

}  // namespace ringway::test
