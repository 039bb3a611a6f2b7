// The seam to the kernel: operations in, completions out. Nothing here knows time, frames, connections or JavaScript.
//
// Thread rule: a driver belongs to one thread (the one that calls Start); only its Waker may be used from others.
// Lifetime rule: memory given to Send and the Address given to Connect must live until that operation's completion.
// Verbs: Submit and Reap never block; only Wait may.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "buffer/block.h"
#include "buffer/landing.h"
#include "driver/user_data.h"

namespace ringway {

// What came back. `result` is >= 0, or a negative errno.
struct Completion {
  UserData data;
  int32_t result = 0;
  // More completions of this operation follow (multishot). When false, the operation is over and may be started again.
  bool more = false;
  // kReceive only: bytes wait to be taken with Driver::Take. For EOF and errors it is false and `result` says which.
  bool has_data = false;
  uint32_t buffer = 0;  // the driver's own: which bytes
};

// Of ReceiveBlocks.
inline constexpr uint32_t kBlockBytes = 65536;

// Result of a Send that did not finish at once: its completion follows.
inline constexpr int32_t kSendPending = INT32_MIN;

struct DriverOptions {
  // Receives up to this many bytes at once. A payload of 16 KB with its header fits, and an odd number of cache lines
  // keeps the buffers of a turn from falling into the same few sets (io_uring, echo 500 x 16 and 50 x 1 of 16 KB: 5 %
  // less CPU).
  uint32_t receive_buffer_bytes = 273 * 64;
  // Receives in flight at once that can hold data (io_uring's provided buffers; power of two). Once used they stay, 18
  // MB of them; four times as many spare a crowd of 9,000 half of the receives that it starts again, but keep 71 MB.
  uint32_t receive_buffers = 1024;
  // Somebody else's loop polls PollFd(); Wait is never called.
  bool external_loop = false;
};

class Driver {
 public:
  virtual ~Driver() = default;

  virtual const char* Name() const = 0;  // "io_uring", "epoll", "fake"

  // Binds the driver to the calling thread. Returns 0 or a negative errno.
  virtual int Start() = 0;

  // Multishot: one completion per connection, result = its file descriptor (close-on-exec, non-blocking), until !more.
  virtual void Accept(UserData data, int listener_fd) = 0;
  // result = 0 or a negative errno.
  virtual void Connect(UserData data, int fd, const sockaddr* address, socklen_t length) = 0;
  // Multishot: completions with has_data until !more; result 0 without data is EOF; -ENOBUFS means that the buffers ran
  // out: start it again once some were returned (Take returns them at the next Take or EndDispatch). The peer's reset
  // is -ECONNRESET, unless a Send was pending: then the kernel may have told that one, and this one ends with 0.
  virtual void Receive(UserData data, int fd) = 0;
  // The same for bytes that may be kept as they lie: where the driver can, they come in blocks of kBlockBytes.
  virtual void ReceiveBlocks(UserData data, int fd) { Receive(data, fd); }
  // Ends a Receive that is armed. Its last completion (!more) follows, with -ECANCELED or data; data that already
  // arrived is not lost. A no-op where none is armed.
  virtual void StopReceive(UserData data, int fd) = 0;
  // The bytes of a kReceive completion with has_data, taken once per completion, in order. Valid until the next
  // call of Take or EndDispatch. An empty span, with completion.result set to -EAGAIN, means that there was nothing
  // after all. EOF and errors never show here: they come as the receive's last completion, without data. has_data is
  // then true again where there may be more, or an end, behind the bytes: Take may be called once more at once, and
  // need not.
  virtual std::span<const uint8_t> Take(Completion& completion) = 0;
  // Memory that others see as well, before Start: a driver may receive into it.
  void OfferReceiveMemory(std::span<uint8_t> memory) { receive_memory_ = memory; }
  // Where the bytes of the last Take lie in it, they stay as they are until as many calls of Release. False: they do
  // not, or too many are held already.
  virtual bool Hold(const uint8_t* /*bytes*/) { return false; }
  // Outside of a dispatch; EndDispatch makes it known.
  virtual void Release(const uint8_t* /*bytes*/) {}
  // Memory of the caller's that the next Take may receive into, where bytes leave the socket only then.
  void OfferRoom(std::span<uint8_t> room) { room_ = room; }
  // The block in which the bytes of the last Take lie, from its first byte on; it is the caller's from now on. nullptr
  // where they lie in memory that the driver uses again.
  virtual Block* Detach(const Completion& /*completion*/) { return nullptr; }
  // What the socket holds, past the buffers, for whoever finds them empty each time; no receive may be armed. As
  // after Take: an empty span with completion.result = -EAGAIN, another negative errno, or 0 at the end of the stream.
  virtual std::span<const uint8_t> ReceiveAtOnce(int /*fd*/, bool /*in_blocks*/, Completion& completion) {
    completion.result = -EAGAIN;
    return {};
  }
  // At most one Send per file descriptor may be pending. Answers the bytes taken (may be short), a negative errno, or
  // kSendPending, after which exactly one completion follows. iov is copied; the bytes it points to are not. Of a send
  // that failed after some bytes had left only these bytes are told.
  virtual int32_t Send(UserData data, int fd, const iovec* iov, int iov_count) = 0;
  // Multishot readiness of an eventfd or timerfd: one completion per time it turns readable; the owner reads it.
  virtual void Watch(UserData data, int fd) = 0;
  // Asks every pending operation on fd to end: each still gives its last completion. Used before closing fd.
  virtual void Cancel(UserData data, int fd) = 0;
  // fd is about to be closed by the caller, and nothing is in flight on it. Lets epoll forget what it knew.
  virtual void Forget(int fd) = 0;

  // Hands what was queued to the kernel. Never blocks.
  virtual void Submit() = 0;
  // Submits, then sleeps until a completion can be reaped (or at once if one can).
  virtual void Wait() = 0;
  // Moves at most completions.size() completions out. Never blocks, never calls back.
  virtual size_t Reap(std::span<Completion> completions) = 0;
  // The dispatch brought about an end that belongs to the same moment as bytes of this Reap: it can be reaped at once.
  virtual bool HasSequel() const { return false; }
  // All completions of this Reap were handled: receive buffers go back to the kernel.
  virtual void EndDispatch() = 0;
  // Becomes readable when there is something to reap: for a loop that is not ours.
  virtual int PollFd() const = 0;
  // True exactly when Reap would return something without asking the kernel first.
  virtual bool HasReady() const = 0;

  // Whether bytes leave the socket at Take, or lie in memory already when their completion is reaped.
  virtual bool ReceivesAtTake() const { return false; }
  // Receives (in blocks or not) that would find a buffer now, at least 1: more of them need not be started again after
  // -ENOBUFS. An estimate, for what the kernel fills meanwhile is seen later.
  virtual size_t FreeReceiveBuffers(bool /*in_blocks*/) const { return SIZE_MAX; }
  // Where ReceiveBlocks receives.
  Landing& landing() { return landing_; }

  // Operations that have not given their last completion. Zero before the driver is destroyed.
  virtual size_t InFlight() const = 0;

 protected:
  std::span<uint8_t> receive_memory_;
  std::span<uint8_t> room_;

 private:
  Landing landing_{kBlockBytes};
};

}  // namespace ringway
