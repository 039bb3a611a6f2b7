#include "driver/uring_ring.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include "base/check.h"

namespace ringway {
namespace {

int Setup(uint32_t entries, io_uring_params* params) {
  const long fd = ::syscall(__NR_io_uring_setup, entries, params);
  return fd < 0 ? -errno : static_cast<int>(fd);
}

// 0 where the environment does not refuse io_uring.
int DeniedByEnvironment() {
  const char* denial = std::getenv("RINGWAY_DENY_IO_URING");
  if (denial == nullptr || *denial == '\0') return 0;
  static constexpr struct {
    const char* name;
    int error;
  } kErrors[] = {{"EPERM", EPERM}, {"ENOSYS", ENOSYS}, {"ENOMEM", ENOMEM}, {"EMFILE", EMFILE}, {"EINVAL", EINVAL}};
  for (const auto& known : kErrors) {
    if (std::strcmp(denial, known.name) == 0) return -known.error;
  }
  return -EPERM;
}

// All that the driver does. A new operation of it comes here too, or the kernel answers it with EACCES.
constexpr uint8_t kOperations[] = {IORING_OP_ACCEPT,  IORING_OP_CONNECT,  IORING_OP_RECV,        IORING_OP_SEND,
                                   IORING_OP_SENDMSG, IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL};
constexpr uint8_t kOperationFlags = IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS;
// Buffers: receives in blocks begin when the first connection asks for them.
constexpr uint8_t kRegistrations[] = {IORING_UNREGISTER_RING_FDS, IORING_REGISTER_PBUF_RING};

uint32_t FlagsOf(UringMode mode) {
  constexpr uint32_t kAlways = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE |
                               IORING_SETUP_CLAMP | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED;
  return mode == UringMode::kPolledRing ? kAlways | IORING_SETUP_COOP_TASKRUN : kAlways | IORING_SETUP_DEFER_TASKRUN;
}

}  // namespace

int UringRing::Open(const UringRingOptions& options) {
  CHECK(!fd_.Valid());
  if (const int denied = DeniedByEnvironment(); denied != 0) return denied;

  uint32_t flags = FlagsOf(options.mode) | IORING_SETUP_NO_SQARRAY;
  uint32_t divisor = 1;
  for (;;) {
    io_uring_params params{};
    params.flags = flags;
    params.cq_entries = options.completion_entries / divisor;
    const int fd = Setup(options.submission_entries / divisor, &params);
    if (fd >= 0) {
      fd_.Reset(fd);
      const int error = Map(params);
      if (error != 0) Close();
      return error;
    }
    if (fd == -EINVAL && (flags & IORING_SETUP_NO_SQARRAY) != 0) {
      flags &= ~IORING_SETUP_NO_SQARRAY;  // 6.6
    } else if (fd == -ENOMEM && divisor == 1) {
      divisor = 2;
    } else {
      return fd;
    }
  }
}

int UringRing::Map(const io_uring_params& params) {
  CHECK((params.features & IORING_FEAT_SINGLE_MMAP) != 0);
  setup_flags_ = params.flags;
  features_ = params.features;
  submission_entries_ = params.sq_entries;
  completion_entries_ = params.cq_entries;

  // Under NO_SQARRAY sq_off.array is 0, and the end of the completions is the end of the mapping.
  rings_bytes_ = std::max(params.sq_off.array + params.sq_entries * sizeof(uint32_t),
                          params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe));
  sqes_bytes_ = params.sq_entries * sizeof(io_uring_sqe);
  void* rings =
      ::mmap(nullptr, rings_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_.Get(), IORING_OFF_SQ_RING);
  if (rings == MAP_FAILED) return -errno;
  rings_ = rings;
  void* sqes =
      ::mmap(nullptr, sqes_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_.Get(), IORING_OFF_SQES);
  if (sqes == MAP_FAILED) return -errno;
  sqes_ = static_cast<io_uring_sqe*>(sqes);
  // A forked child (a spawned process until its exec) must not share our queues.
  ::madvise(rings_, rings_bytes_, MADV_DONTFORK);
  ::madvise(sqes_, sqes_bytes_, MADV_DONTFORK);

  auto* base = static_cast<uint8_t*>(rings_);
  const auto word = [base](uint32_t offset) { return reinterpret_cast<uint32_t*>(base + offset); };
  submission_head_ = word(params.sq_off.head);
  submission_tail_ = word(params.sq_off.tail);
  submission_flags_ = word(params.sq_off.flags);
  submission_mask_ = *word(params.sq_off.ring_mask);
  filled_tail_ = *submission_tail_;
  completion_head_ = word(params.cq_off.head);
  completion_tail_ = word(params.cq_off.tail);
  completion_flags_ = word(params.cq_off.flags);
  completion_mask_ = *word(params.cq_off.ring_mask);
  completions_ = reinterpret_cast<io_uring_cqe*>(base + params.cq_off.cqes);
  if ((params.flags & IORING_SETUP_NO_SQARRAY) == 0) {
    for (uint32_t i = 0; i < submission_entries_; ++i) word(params.sq_off.array)[i] = i;
  }

  io_uring_rsrc_update update{};
  update.offset = UINT32_MAX;  // any free number
  update.data = static_cast<uint64_t>(fd_.Get());
  if (Register(IORING_REGISTER_RING_FDS, &update, 1) == 1) {
    registered_index_ = static_cast<int>(update.offset);
    registered_thread_ = ::gettid();
  }
  return 0;
}

int UringRing::Enable() {
  std::array<io_uring_restriction, std::size(kOperations) + std::size(kRegistrations) + 1> restrictions{};
  auto next = restrictions.begin();
  for (const uint8_t operation : kOperations) {
    next->opcode = IORING_RESTRICTION_SQE_OP;
    (next++)->sqe_op = operation;
  }
  for (const uint8_t registration : kRegistrations) {
    next->opcode = IORING_RESTRICTION_REGISTER_OP;
    (next++)->register_op = registration;
  }
  next->opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
  next->sqe_flags = kOperationFlags;
  unrestricted_error_ = Register(IORING_REGISTER_RESTRICTIONS, restrictions.data(), restrictions.size());
  const int error = Register(IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
  return std::min(error, 0);
}

void UringRing::Close() {
  // The registration holds the ring open. It belongs to the thread that made it, and the same number may mean another
  // ring in ours; a thread that has ended has given its own up.
  if (registered_index_ >= 0 && registered_thread_ == ::gettid()) {
    io_uring_rsrc_update update{};
    update.offset = static_cast<uint32_t>(registered_index_);
    Register(IORING_UNREGISTER_RING_FDS, &update, 1);
  }
  registered_index_ = -1;
  if (sqes_ != nullptr) ::munmap(sqes_, sqes_bytes_);
  if (rings_ != nullptr) ::munmap(rings_, rings_bytes_);
  sqes_ = nullptr;
  rings_ = nullptr;
  fd_.Reset();
}

uint32_t UringRing::Unsubmitted() const {
  return filled_tail_ - std::atomic_ref(*submission_head_).load(std::memory_order_acquire);
}

uint32_t UringRing::FreeSqes() const { return submission_entries_ - Unsubmitted(); }

io_uring_sqe* UringRing::NextSqe() {
  if (FreeSqes() == 0) return nullptr;
  io_uring_sqe* sqe = &sqes_[filled_tail_++ & submission_mask_];
  std::memset(sqe, 0, sizeof(*sqe));
  return sqe;
}

int UringRing::Enter(uint32_t wait_count, uint32_t flags) {
  std::atomic_ref(*submission_tail_).store(filled_tail_, std::memory_order_release);
  int fd = fd_.Get();
  if (registered_index_ >= 0) {
    fd = registered_index_;
    flags |= IORING_ENTER_REGISTERED_RING;
  }
  const long result = ::syscall(__NR_io_uring_enter, fd, Unsubmitted(), wait_count, flags, nullptr, 0);
  return result < 0 ? -errno : static_cast<int>(result);
}

int UringRing::Register(uint32_t operation, void* argument, uint32_t count) {
  const long result = ::syscall(__NR_io_uring_register, fd_.Get(), operation, argument, count);
  return result < 0 ? -errno : static_cast<int>(result);
}

void UringRing::SetEventfdEnabled(bool enabled) {
  std::atomic_ref(*completion_flags_).store(enabled ? 0 : IORING_CQ_EVENTFD_DISABLED, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

}  // namespace ringway
