// The driver over epoll: level-triggered, one epoll_ctl per change of what a descriptor waits for, none per message.
//
// Events become completions when they are fetched, while what they refer to is certainly still there; so nothing that
// happens to a descriptor afterwards (a close, a new owner of its number) can meet an event that was meant for somebody
// else.
#pragma once

#include <sys/epoll.h>

#include <memory>
#include <vector>

#include "base/fd.h"
#include "driver/driver.h"

namespace ringway {

class EpollDriver final : public Driver {
 public:
  explicit EpollDriver(const DriverOptions& options) : options_(options) {}
  ~EpollDriver() override;

  const char* Name() const override { return "epoll"; }
  int Start() override;
  void Accept(UserData data, int listener_fd) override;
  void Connect(UserData data, int fd, const sockaddr* address, socklen_t length) override;
  void Receive(UserData data, int fd) override;
  void ReceiveBlocks(UserData data, int fd) override;
  void StopReceive(UserData data, int fd) override;
  std::span<const uint8_t> Take(Completion& completion) override;
  Block* Detach(const Completion& completion) override;
  int32_t Send(UserData data, int fd, const iovec* iov, int iov_count) override;
  void Watch(UserData data, int fd) override;
  void Cancel(UserData data, int fd) override;
  void Forget(int fd) override;
  void Submit() override;
  void Wait() override;
  size_t Reap(std::span<Completion> completions) override;
  void EndDispatch() override {}
  int PollFd() const override { return epoll_.Get(); }
  bool ReceivesAtTake() const override { return true; }
  bool HasSequel() const override { return has_sequel_; }
  bool HasReady() const override { return ready_next_ < ready_.size(); }
  size_t InFlight() const override { return in_flight_; }

 private:
  static constexpr uint32_t kNoSend = UINT32_MAX;

  // By descriptor number. At most one operation waits for input (accept, receive, watch) and one for output (connect,
  // send).
  struct Descriptor {
    uint64_t input = 0;  // user data; kNone where nothing waits
    uint64_t output = 0;
    uint32_t generation = 0;
    uint32_t registered = 0;  // what epoll knows
    uint32_t pending_send = kNoSend;
    bool changed = false;         // in changed_
    bool in_blocks = false;       // the receive is for blocks
    bool data_announced = false;  // a completion with has_data waits to be taken
    bool hung_up = false;         // both directions are over, most often by a reset
  };
  // The parts of a send that waits for room.
  struct PendingSend {
    std::unique_ptr<iovec[]> parts;
    int count = 0;
  };

  Descriptor& At(int fd);
  void StartInput(UserData data, int fd);
  void StartOutput(UserData data, int fd);
  void EndInput(int fd, int32_t result);
  void EndOutput(int fd, int32_t result);
  void Changed(int fd);
  void ApplyChanges();
  void Fetch(int timeout_ms);
  size_t HandOut(std::span<Completion> completions);
  void OnInput(int fd);
  void OnOutput(int fd);
  void AcceptAll(int fd, UserData data);
  void ParkSend(Descriptor& descriptor, const iovec* iov, int count);
  void PushFinal(UserData data, int32_t result);
  void SetDoorbell(bool up);

  const DriverOptions options_;
  Fd epoll_;
  // External loop only, in the epoll set: readable while completions wait that the kernel knows nothing of.
  Fd doorbell_;
  bool doorbell_is_up_ = false;
  bool has_sequel_ = false;  // ends that came about since the last Reap, of descriptors that had hung up
  // The next Reap may ask the kernel. Set by Submit; Wait has asked already.
  bool may_ask_ = true;
  size_t in_flight_ = 0;
  std::vector<Descriptor> descriptors_;
  std::vector<int> changed_;
  std::vector<epoll_event> events_;
  std::vector<Completion> ready_;
  size_t ready_next_ = 0;
  std::vector<PendingSend> pending_sends_;
  std::vector<uint32_t> free_sends_;
  // One buffer for everybody: it stays in the cache.
  std::unique_ptr<uint8_t[]> receive_buffer_;
  Block* block_ = nullptr;  // for receives in blocks, until somebody detaches it
  bool taken_into_block_ = false;
};

}  // namespace ringway
