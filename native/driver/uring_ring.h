// io_uring's two queues over raw system calls: the kernel's header, the constants Debian's copy of it lacks, and no
// liburing (2.3 writes the index array at offset 0 under NO_SQARRAY, over the ring's header).
//
// Thread rule: SINGLE_ISSUER. The thread that calls Enable is the only one that may call anything else; the kernel
// answers others with EEXIST.
//
// Life: Open, what must be registered, Enable, then submissions. From Enable on the kernel refuses every operation,
// flag and registration that the driver does not use (uring_ring.cc has the list): whoever comes to write into the
// queues cannot make of them a way to open files or to start programs.
#pragma once

#include <linux/io_uring.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/fd.h"

#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16)
#endif

namespace ringway {

// Who sleeps, and on what.
enum class UringMode : uint8_t {
  // Our own thread, inside io_uring_enter: DEFER_TASKRUN. Polling this ring's descriptor never wakes.
  kOwnThread,
  // Somebody else's epoll, on the ring's descriptor: COOP_TASKRUN.
  kPolledRing,
  // Somebody else's epoll, on a registered eventfd: DEFER_TASKRUN.
  kPolledEventfd,
};

struct UringRingOptions {
  UringMode mode = UringMode::kOwnThread;
  uint32_t submission_entries = 2048;
  // Eight times the submissions: one multishot receive posts many completions, and an overflown queue is slow (not
  // lossy).
  uint32_t completion_entries = 16384;
};

class UringRing {
 public:
  UringRing() = default;
  UringRing(const UringRing&) = delete;
  UringRing& operator=(const UringRing&) = delete;
  ~UringRing() { Close(); }

  // Returns 0 or a negative errno; -EINVAL where the kernel does not know the flags (older than 6.1). The environment
  // variable RINGWAY_DENY_IO_URING (EPERM, ENOSYS, ENOMEM, EMFILE, EINVAL) makes it answer as if the kernel had
  // refused.
  int Open(const UringRingOptions& options);
  // Ends the set-up. 0 or a negative errno. A kernel that refuses the restrictions runs without them: see restricted.
  int Enable();
  void Close();

  int ring_fd() const { return fd_.Get(); }
  uint32_t setup_flags() const { return setup_flags_; }
  uint32_t features() const { return features_; }
  // Why there are no restrictions, as a negative errno; 0: there are.
  int unrestricted_error() const { return unrestricted_error_; }
  uint32_t submission_entries() const { return submission_entries_; }
  uint32_t completion_entries() const { return completion_entries_; }

  // A zeroed entry, the caller's to fill before the next call; null when the queue is full.
  io_uring_sqe* NextSqe();
  uint32_t FreeSqes() const;
  // Entries the kernel has not consumed.
  uint32_t Unsubmitted() const;

  // io_uring_enter with everything queued. Returns what it returns, or a negative errno.
  int Enter(uint32_t wait_count, uint32_t flags);
  // Task work waits for us to enter the kernel, or completions wait for room in the queue.
  bool NeedsEnter() const {
    return (std::atomic_ref(*submission_flags_).load(std::memory_order_relaxed) &
            (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
  }
  bool HasTaskWork() const {
    return (std::atomic_ref(*submission_flags_).load(std::memory_order_relaxed) & IORING_SQ_TASKRUN) != 0;
  }

  uint32_t CompletionHead() const { return *completion_head_; }
  uint32_t CompletionTail() const { return std::atomic_ref(*completion_tail_).load(std::memory_order_acquire); }
  const io_uring_cqe& CompletionAt(uint32_t index) const { return completions_[index & completion_mask_]; }
  // Gives everything before `head` back to the kernel.
  void AdvanceTo(uint32_t head) const { std::atomic_ref(*completion_head_).store(head, std::memory_order_release); }

  int Register(uint32_t operation, void* argument, uint32_t count);
  // Whether the kernel rings the registered eventfd. Followed by a full fence, so that the caller can look again.
  void SetEventfdEnabled(bool enabled);

 private:
  int Map(const io_uring_params& params);

  Fd fd_;
  uint32_t setup_flags_ = 0;
  uint32_t features_ = 0;
  int unrestricted_error_ = 0;

  uint32_t* submission_head_ = nullptr;  // the kernel moves it
  uint32_t* submission_tail_ = nullptr;
  uint32_t* submission_flags_ = nullptr;
  io_uring_sqe* sqes_ = nullptr;
  uint32_t submission_entries_ = 0;
  uint32_t submission_mask_ = 0;
  uint32_t filled_tail_ = 0;  // entries handed out; published by Enter

  uint32_t* completion_head_ = nullptr;
  uint32_t* completion_tail_ = nullptr;  // the kernel moves it
  uint32_t* completion_flags_ = nullptr;
  io_uring_cqe* completions_ = nullptr;
  uint32_t completion_entries_ = 0;
  uint32_t completion_mask_ = 0;

  void* rings_ = nullptr;
  size_t rings_bytes_ = 0;
  size_t sqes_bytes_ = 0;

  // The ring's number in this thread's table of registered rings: spares the kernel a lookup with atomics per enter.
  int registered_index_ = -1;
  int registered_thread_ = 0;
};

}  // namespace ringway
