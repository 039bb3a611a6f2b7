// The driver over io_uring (Linux 6.1 or later). One io_uring_enter per Submit or Wait carries all that was queued.
//
// Evidence for its rules (each corrupts or hangs silently when broken): two sends in flight on one socket interleave
// their bytes; closing a descriptor does not end its armed receive; a receive on an empty buffer ring completes with
// ENOBUFS at once; a GETEVENTS call that waits for nothing runs at most 20 task works; a DEFER_TASKRUN ring never wakes
// who polls it.
#pragma once

#include <memory>
#include <vector>

#include "base/fd.h"
#include "driver/driver.h"
#include "driver/provided_blocks.h"
#include "driver/provided_buffers.h"
#include "driver/uring_ring.h"

namespace ringway {

class UringDriver final : public Driver {
 public:
  // The mode is kOwnThread, or, with options.external_loop, one of the polled ones.
  UringDriver(const DriverOptions& options, UringMode mode);
  explicit UringDriver(const DriverOptions& options)
      : UringDriver(options, options.external_loop ? UringMode::kPolledEventfd : UringMode::kOwnThread) {}
  ~UringDriver() override {
    if (spare_ != nullptr) spare_->Unref();
  }

  const char* Name() const override { return "io_uring"; }
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
  int PollFd() const override;
  bool HasReady() const override;
  size_t FreeReceiveBuffers(bool in_blocks) const override;
  size_t InFlight() const override { return in_flight_; }

  const UringRing& ring() const { return ring_; }

 private:
  // A message header and its parts. The kernel has copied them once it consumed the submission
  // (IORING_FEAT_SUBMIT_STABLE), so that one batch's worth is enough.
  struct MessageArena {
    std::unique_ptr<msghdr[]> headers;
    std::unique_ptr<iovec[]> parts;
    uint32_t headers_used = 0;
    uint32_t parts_used = 0;
  };

  io_uring_sqe* Begin(UserData data, uint8_t opcode, int fd);
  void BeginReceive(UserData data, int fd, uint16_t buffer_group);
  io_uring_sqe* NextSqe();
  bool MaySendAtOnce();
  bool HasRoomForMessage(int parts);
  void MoveSpilled();
  void Enter(uint32_t wait_count, uint32_t flags);
  void RunTaskWork();
  void SubmitQueued();
  void SubmitAndArmEventfd();
  uint32_t ReadyCount() const { return ring_.CompletionTail() - ring_.CompletionHead(); }
  void RingEventfd();
  int PollAlso(int fd);
  void PollNoLonger(int fd);

  const DriverOptions options_;
  const UringMode mode_;
  // The order matters: the buffers' memory goes after the ring.
  ProvidedBuffers buffers_;
  ProvidedBlocks blocks_;  // opened with the first receive in blocks
  UringRing ring_;
  size_t in_flight_ = 0;
  MessageArena arena_;
  Block* spare_ = nullptr;  // of ReceiveAtOnce
  // Submissions the kernel had no room or memory for; empty but for emergencies. They keep their order.
  std::vector<io_uring_sqe> spilled_;
  // Buffers of completions handed out and not yet returned.
  std::vector<uint16_t> handed_out_;
  // How often each is held, past its return by EndDispatch; of how many that is true.
  std::vector<uint16_t> holds_;
  uint32_t held_ = 0;
  bool released_ = false;  // some are back that the kernel does not know of
  bool starved_ = false;
  bool sent_at_once_ = false;  // since the last Submit, or tried

  // kPolledEventfd only.
  Fd eventfd_;
  // What the loop polls: the eventfd, and by themselves the descriptors that are watched. Writing to a watched eventfd
  // would ring ours from within a wake-up, which the kernel puts off, and (seen on 6.18) does only the first time.
  Fd poll_set_;
  bool eventfd_armed_ = false;    // the kernel rings it
  bool eventfd_is_up_ = false;    // it is readable
  uint32_t tail_when_armed_ = 0;  // a moved tail is the evidence that the kernel rang
};

}  // namespace ringway
