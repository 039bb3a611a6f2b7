// What surrounds a driver under test: listeners, peers, events, and the loop that calls it. One suite runs in all of
// them.
#pragma once

#include <sys/socket.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "driver/driver.h"

namespace ringway::test {

class DriverWorld {
 public:
  virtual ~DriverWorld() = default;

  virtual Driver& driver() = 0;
  virtual bool is_fake() const { return false; }

  virtual int Listen() = 0;
  virtual int PeerDial(int listener) = 0;
  virtual std::pair<int, int> Pair() = 0;  // {ours, the peer's}, with small buffers between them
  virtual int Socket() = 0;
  virtual std::pair<sockaddr_storage, socklen_t> AddressOf(int listener) = 0;
  virtual std::pair<sockaddr_storage, socklen_t> RefusingAddress() = 0;
  virtual int Event() = 0;
  virtual void RingEvent(int fd) = 0;
  virtual void ReadEvent(int fd) = 0;
  // Non-blocking: a count, 0 for EOF, or a negative errno.
  virtual ssize_t PeerSend(int fd, std::string_view bytes) = 0;
  virtual ssize_t PeerReceive(int fd, char* bytes, size_t size) = 0;
  virtual void PeerReset(int fd) = 0;
  virtual void ShutdownWrite(int fd) = 0;
  virtual void Shutdown(int fd) = 0;
  // Either end. What is ours was forgotten by the driver before.
  virtual void Close(int fd) = 0;
  // Hands everything over and sleeps until there is something to reap, as the owner of this driver's loop would.
  virtual void Sleep() = 0;
};

struct WorldKind {
  std::string name;
  // Null where this machine refuses the driver.
  std::function<std::unique_ptr<DriverWorld>(const DriverOptions&)> make;
};

// io_uring in its three modes, epoll in its two, and the fake with several seeds, one of them new in every run
// (RINGWAY_TEST_SEED replays it).
std::vector<WorldKind> AllWorlds();
// Those with a kernel.
std::vector<WorldKind> RealWorlds();

// A caller of the driver that does all the contract asks for, and keeps what came by slot.
class DriverLoop {
 public:
  struct Slot {
    std::string received;
    std::vector<int> accepted;
    std::vector<Completion> completions;  // of any kind, bytes taken
    int receive_ends = 0;
    int32_t receive_result = -EINPROGRESS;  // of the last completion of a receive
    int32_t sent = -EINPROGRESS;            // of the last send that pended
    int32_t connected = -EINPROGRESS;
    int watched = 0;
    size_t starved = 0;  // ENOBUFS
    size_t data_completions = 0;
    size_t filled = 0;                              // blocks, after which Take may be called once more
    std::vector<std::pair<Block*, size_t>> blocks;  // detached: whoever looks at them gives them back
  };

  explicit DriverLoop(DriverWorld& world) : world_(world), driver_(world.driver()) {}

  // Keyed by slot and generation.
  Slot& At(UserData data) { return slots_[{data.slot, data.generation}]; }

  // Multishots that are started again by themselves whenever they end without EOF, error or Stop.
  void KeepAccepting(UserData data, int fd);
  void KeepReceiving(UserData data, int fd);
  // In blocks; those that hold at least so many bytes are detached.
  void KeepReceivingBlocks(UserData data, int fd, size_t detach_bytes);
  void KeepWatching(UserData data, int fd);
  // Those above are no longer started again.
  void Release(UserData data);

  // Sleeps until something comes, and handles it.
  void Turn();
  // Handles what is there, without sleeping. Returns how many completions there were.
  size_t Poll();
  template <typename Condition>
  void Until(Condition condition) {
    while (!condition()) Turn();
  }

 private:
  struct Kept {
    Op op;
    int fd;
    size_t detach_bytes = 0;  // 0: not in blocks
  };

  size_t Drain();
  void Handle(Completion& completion);
  void TakeBytes(Slot& slot, Completion& completion);
  void StartAgain();

  DriverWorld& world_;
  Driver& driver_;
  std::map<std::pair<uint32_t, uint32_t>, Slot> slots_;
  std::map<uint64_t, Kept> kept_;
  std::vector<std::pair<UserData, int>> again_;
};

}  // namespace ringway::test
