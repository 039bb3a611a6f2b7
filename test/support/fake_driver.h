// A driver without a kernel: byte pipes in memory, and from a seed all that a kernel may do and rarely does. Sends are
// short, answered at once or later; completions of different operations come late and in any order; multishots end
// without a cause; buffers, memory, descriptors and the completion queue run out; bytes that were announced are not
// there. What a caller must never do aborts, and the message names the seed.
//
// It plays both sides: the test drives the peers' ends with the Peer* functions.
#pragma once

#include <netinet/in.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "driver/driver.h"

namespace ringway::test {

struct FakeDriverOptions {
  uint64_t seed = 1;
  DriverOptions driver{.receive_buffer_bytes = 64, .receive_buffers = 8};
  // What fits between the two ends, each way.
  size_t pipe_bytes = 256;
  // How mean it is, in percent. 0 for all: every operation does at once what it can.
  uint32_t late_percent = 30;       // an operation that could go on does not yet
  uint32_t short_percent = 50;      // fewer bytes than possible
  uint32_t lost_more_percent = 10;  // a multishot ends with a completion that is otherwise fine
  // Announced bytes are not there (-EAGAIN); EOF and errors are found only when they are taken, as with epoll.
  uint32_t false_data_percent = 10;
  uint32_t pending_percent = 50;    // a send that could be answered at once is not
  uint32_t no_blocks_percent = 20;  // a receive that asks for blocks comes as any other
  uint32_t no_buffer_percent = 0;   // a receive finds no buffer, though there are some
  // As with epoll: bytes are received when they are taken, where the caller offers room for them there.
  bool receives_at_take = false;
  // An operation that could go on fails instead: no memory, no descriptors, a reset, a time-out.
  uint32_t trouble_percent = 0;
  // Completions that wait to be reaped; beyond it multishots end, as with io_uring's queue. 0: no limit.
  size_t completion_entries = 0;
};

class FakeDriver final : public Driver {
 public:
  explicit FakeDriver(const FakeDriverOptions& options) : options_(options), random_(options.seed) {}
  ~FakeDriver() override;

  // --- the world ---
  int Listen();
  // Where Connect finds a listener, and where it finds none.
  sockaddr_in AddressOf(int listener) const;
  sockaddr_in RefusingAddress() const { return AddressOf(0); }
  int Socket();  // for Connect
  // A peer that connects to a listener: its end.
  int PeerDial(int listener);
  // {our end, the peer's end}.
  std::pair<int, int> Pair();
  int Event();
  void RingEvent(int fd);
  void ReadEvent(int fd);
  // As accept4(2): our end of the next connection, or -EAGAIN.
  int AcceptWaiting(int listener);
  // As shutdown(2) of a listening socket: it takes nobody any more, and whom it had taken is reset.
  void StopListening(int listener);

  // As send(2) and recv(2) on a non-blocking socket: a count, 0 for EOF, or a negative errno.
  ssize_t PeerSend(int fd, std::span<const uint8_t> bytes);
  ssize_t PeerReceive(int fd, std::span<uint8_t> bytes);
  void PeerReset(int fd);
  // Either end. Shutdown ends both directions; CloseFd must find nothing in flight.
  void ShutdownWrite(int fd);
  void Shutdown(int fd);
  void CloseFd(int fd);
  // Of our end, as close(2) with SO_LINGER of zero: the peer sees a reset.
  void ResetFd(int fd);
  // As sendmsg(2) of our end, with nothing in flight on it.
  ssize_t SendAtOnce(int fd, const iovec* iov, size_t count);

  static bool IsFake(int fd) { return fd >= kFirstFd; }
  size_t OpenFds() const { return ends_.size(); }
  // Bytes that ever came to this end.
  uint64_t ArrivedAt(int fd) { return At(fd).arrived; }

  // --- Driver ---
  const char* Name() const override { return "fake"; }
  int Start() override;
  void Accept(UserData data, int listener_fd) override;
  void Connect(UserData data, int fd, const sockaddr* address, socklen_t length) override;
  void Receive(UserData data, int fd) override;
  void ReceiveBlocks(UserData data, int fd) override;
  void StopReceive(UserData data, int fd) override;
  std::span<const uint8_t> Take(Completion& completion) override;
  Block* Detach(const Completion& completion) override;
  bool Hold(const uint8_t* bytes) override;
  void Release(const uint8_t* bytes) override;
  std::span<const uint8_t> ReceiveAtOnce(int fd, bool in_blocks, Completion& completion) override;
  int32_t Send(UserData data, int fd, const iovec* iov, int iov_count) override;
  void Watch(UserData data, int fd) override;
  void Cancel(UserData data, int fd) override;
  void Forget(int fd) override;
  void Submit() override;
  void Wait() override;
  size_t Reap(std::span<Completion> completions) override;
  void EndDispatch() override;
  int PollFd() const override { return -1; }
  bool ReceivesAtTake() const override { return options_.receives_at_take; }
  bool HasReady() const override { return !posted_.empty(); }
  size_t InFlight() const override { return in_flight_; }
  size_t FreeReceiveBuffers(bool in_blocks) const override {
    return std::max<size_t>(1, in_blocks ? free_blocks_.size() : free_buffers_.size());
  }

 private:
  struct End {
    enum class Kind : uint8_t { kListener, kStream, kEvent } kind = Kind::kStream;
    int other = -1;  // the stream's other end
    std::deque<uint8_t> inbox;
    bool finished = false;  // the other end sends no more
    bool reset = false;
    bool cannot_send = false;
    uint64_t arrived = 0;
    std::deque<int> backlog;
    uint64_t event_count = 0;
    uint64_t events_seen = 0;
  };
  struct Operation {
    UserData data;
    int fd = -1;
    std::vector<iovec> parts{};
    const sockaddr* given_address = nullptr;  // until it is submitted
    sockaddr_in address{};
    bool submitted = false;
    bool cancelled = false;
    bool announced = false;  // bytes that may not be there wait to be taken
    bool in_blocks = false;  // of a receive
  };
  struct Posted {
    Completion completion;
    int fd = -1;
  };
  enum : uint32_t { kNoBuffer = UINT32_MAX };
  enum : int { kFirstFd = 100000 };  // no real descriptor

  bool Chance(uint32_t percent);
  size_t Some(size_t most);  // 1..most
  int NewEnd(End::Kind kind);
  End& At(int fd);
  void Begin(Operation operation);
  // Buffers are numbered on: first those that are used again, then those that are blocks.
  bool IsBlock(uint32_t buffer) const { return buffer != kNoBuffer && buffer >= buffers_.size(); }
  uint8_t* DataOf(uint32_t buffer);
  uint32_t BufferOf(const uint8_t* bytes) const;
  uint32_t TakeFree(bool in_blocks);  // kNoBuffer: there is none
  void Poison(uint32_t buffer);
  void GiveBack(uint32_t buffer);
  bool IsBusy(int fd, bool output) const;
  void Post(size_t index, Completion completion);
  void Finish(size_t index, int32_t result);
  void Step();
  bool Progress(size_t index);
  bool Trouble(size_t index);
  bool ProgressReceive(size_t index);
  bool ProgressAccept(size_t index);
  void ProgressConnect(size_t index);
  bool ProgressSend(size_t index);
  int32_t Transfer(int fd, const iovec* iov, size_t count, bool may_be_short);
  [[noreturn]] void Fail(const char* what) const;

  const FakeDriverOptions options_;
  std::mt19937_64 random_;
  std::map<int, End> ends_;
  std::vector<Operation> operations_;
  std::deque<Posted> posted_;
  size_t in_flight_ = 0;
  std::vector<uint8_t> own_memory_;  // of the buffers, where none is shared
  std::vector<std::span<uint8_t>> buffers_;
  std::map<uint32_t, int> holds_;  // of a buffer, past EndDispatch
  std::vector<size_t> filled_;     // bytes in each buffer
  std::vector<Block*> blocks_;     // nullptr: not in use, or detached
  std::vector<uint32_t> free_buffers_;
  std::vector<uint32_t> free_blocks_;
  Block* at_once_ = nullptr;  // of the last ReceiveAtOnce
  std::vector<uint32_t> handed_out_;
  uint32_t taken_ = kNoBuffer;
};

}  // namespace ringway::test
