#include "driver/uring_driver.h"

#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/check.h"
#include "driver/send_at_once.h"

namespace ringway {
namespace {

// More parts than this make a short send.
constexpr int kMaxMessageParts = 64;
constexpr uint32_t kArenaParts = 8192;
// Task works run 20 at a time; go on until a batch is worth handing out, and leave the rest for the next. The rounds
// bound what a single stream, which has 64 KB each time, can bring before JavaScript sees any of it.
constexpr uint32_t kBatchCompletions = 256;
constexpr int kMaxTaskWorkRounds = 16;
// What one connection may receive before others get their turn. From 6.17 on a multishot receive's length is the most
// it takes per invocation; earlier kernels take it as a limit per buffer, which no buffer reaches.
constexpr uint32_t kReceiveTurnBytes = 65536;
// Of a completion's buffers: the one of ReceiveAtOnce. The kernel's ids have 16 bits.
constexpr uint32_t kSpare = UINT32_MAX;
// Of receives in blocks: as many as the completions of one batch.
constexpr uint32_t kBlocks = 256;

}  // namespace

UringDriver::UringDriver(const DriverOptions& options, UringMode mode) : options_(options), mode_(mode) {
  CHECK_EQ(options.external_loop, mode != UringMode::kOwnThread);
}

int UringDriver::Start() {
  UringRingOptions ring_options;
  ring_options.mode = mode_;
  if (const int error = ring_.Open(ring_options); error != 0) return error;
  if (const int error = buffers_.Open(&ring_, options_.receive_buffers, options_.receive_buffer_bytes, receive_memory_);
      error != 0) {
    return error;
  }
  handed_out_.reserve(options_.receive_buffers);
  holds_.resize(options_.receive_buffers);
  arena_.headers.reset(new msghdr[ring_.submission_entries()]);
  arena_.parts.reset(new iovec[kArenaParts]);
  if (mode_ == UringMode::kPolledEventfd) {
    eventfd_.Reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!eventfd_.Valid()) return -errno;
    int fd = eventfd_.Get();
    if (const int error = ring_.Register(IORING_REGISTER_EVENTFD, &fd, 1); error < 0) return error;
    poll_set_.Reset(::epoll_create1(EPOLL_CLOEXEC));
    if (!poll_set_.Valid()) return -errno;
    if (const int error = PollAlso(eventfd_.Get()); error != 0) return error;
    tail_when_armed_ = ring_.CompletionTail();
    eventfd_armed_ = true;
  }
  return ring_.Enable();
}

int UringDriver::PollAlso(int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  const bool added = ::epoll_ctl(poll_set_.Get(), EPOLL_CTL_ADD, fd, &event) == 0 || errno == EEXIST;
  return added ? 0 : -errno;
}

void UringDriver::PollNoLonger(int fd) {
  if (poll_set_.Valid()) ::epoll_ctl(poll_set_.Get(), EPOLL_CTL_DEL, fd, nullptr);
}

void UringDriver::Forget(int fd) { PollNoLonger(fd); }

io_uring_sqe* UringDriver::NextSqe() {
  if (spilled_.empty()) [[likely]] {
    if (io_uring_sqe* sqe = ring_.NextSqe(); sqe != nullptr) [[likely]]
      return sqe;
    Enter(0, 0);
    if (spilled_.empty()) {
      if (io_uring_sqe* sqe = ring_.NextSqe(); sqe != nullptr) return sqe;
    }
  }
  return &spilled_.emplace_back();
}

void UringDriver::MoveSpilled() {
  size_t moved = 0;
  while (moved < spilled_.size()) {
    io_uring_sqe* sqe = ring_.NextSqe();
    if (sqe == nullptr) break;
    *sqe = spilled_[moved++];
  }
  spilled_.erase(spilled_.begin(), spilled_.begin() + static_cast<ptrdiff_t>(moved));
}

io_uring_sqe* UringDriver::Begin(UserData data, uint8_t opcode, int fd) {
  io_uring_sqe* sqe = NextSqe();
  sqe->opcode = opcode;
  sqe->fd = fd;
  sqe->user_data = data.Pack();
  if (data.op != Op::kNone) ++in_flight_;
  return sqe;
}

void UringDriver::Accept(UserData data, int listener_fd) {
  io_uring_sqe* sqe = Begin(data, IORING_OP_ACCEPT, listener_fd);
  sqe->ioprio = IORING_ACCEPT_MULTISHOT;
  sqe->accept_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
}

void UringDriver::Connect(UserData data, int fd, const sockaddr* address, socklen_t length) {
  io_uring_sqe* sqe = Begin(data, IORING_OP_CONNECT, fd);
  sqe->addr = reinterpret_cast<uint64_t>(address);
  sqe->off = length;
}

void UringDriver::Receive(UserData data, int fd) { BeginReceive(data, fd, ProvidedBuffers::kGroup); }

void UringDriver::ReceiveBlocks(UserData data, int fd) {
  const bool open = blocks_.IsOpen() || blocks_.Open(&ring_, &landing(), kBlocks, kBlockBytes) == 0;
  BeginReceive(data, fd, open ? ProvidedBlocks::kGroup : ProvidedBuffers::kGroup);
}

void UringDriver::BeginReceive(UserData data, int fd, uint16_t buffer_group) {
  io_uring_sqe* sqe = Begin(data, IORING_OP_RECV, fd);
  sqe->ioprio = IORING_RECV_MULTISHOT;
  sqe->flags = IOSQE_BUFFER_SELECT;
  sqe->buf_group = buffer_group;
  sqe->len = std::max(kReceiveTurnBytes, options_.receive_buffer_bytes);
}

// By user data, which only the receive has: a send in flight on the same descriptor goes on. The cancellation precedes
// whatever is started after it, so that it never hits the next receive.
void UringDriver::StopReceive(UserData data, int) {
  io_uring_sqe* sqe = Begin(UserData{}, IORING_OP_ASYNC_CANCEL, -1);
  sqe->addr = data.Pack();
  sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
}

void UringDriver::Cancel(UserData, int fd) {
  PollNoLonger(fd);
  io_uring_sqe* sqe = Begin(UserData{}, IORING_OP_ASYNC_CANCEL, fd);
  sqe->cancel_flags = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL;
  sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
}

void UringDriver::Watch(UserData data, int fd) {
  io_uring_sqe* sqe = Begin(data, IORING_OP_POLL_ADD, fd);
  sqe->len = IORING_POLL_ADD_MULTI;
  uint32_t events = POLLIN;
  if constexpr (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__) events <<= 16;
  sqe->poll32_events = events;
  if (poll_set_.Valid()) CHECK_EQ(PollAlso(fd), 0);
}

// Room for one message in the arena and one submission, so that neither is flushed between the two: a flush makes the
// arena's memory free for others.
bool UringDriver::HasRoomForMessage(int parts) {
  const auto has_room = [this, parts] {
    return spilled_.empty() && ring_.FreeSqes() > 0 && arena_.headers_used < ring_.submission_entries() &&
           arena_.parts_used + static_cast<uint32_t>(parts) <= kArenaParts;
  };
  if (has_room()) [[likely]]
    return true;
  Enter(0, 0);
  return has_room();
}

// In Node's loop a lone send costs one call either way; at once it saves the completion, and a wake-up for it (a lone
// connection, 64 bytes). Of many in a turn all but the first share the one call that submits them.
bool UringDriver::MaySendAtOnce() {
  if (mode_ == UringMode::kOwnThread || sent_at_once_ || ring_.Unsubmitted() > 0) return false;
  sent_at_once_ = true;
  return true;
}

int32_t UringDriver::Send(UserData data, int fd, const iovec* iov, int iov_count) {
  CHECK_GT(iov_count, 0);
  const int parts = std::min(iov_count, kMaxMessageParts);
  if (MaySendAtOnce()) {
    const int32_t sent = SendAtOnce(fd, iov, parts);
    if (sent != -EAGAIN) return sent;
  }
  if (parts == 1 || !HasRoomForMessage(parts)) {
    // Without room the first part alone makes a short send, which needs no memory of ours.
    io_uring_sqe* sqe = Begin(data, IORING_OP_SEND, fd);
    sqe->addr = reinterpret_cast<uint64_t>(iov[0].iov_base);
    sqe->len = static_cast<uint32_t>(std::min<size_t>(iov[0].iov_len, INT32_MAX));
    sqe->msg_flags = MSG_WAITALL | MSG_NOSIGNAL;
    return kSendPending;
  }
  msghdr* header = &arena_.headers[arena_.headers_used++];
  iovec* copy = &arena_.parts[arena_.parts_used];
  arena_.parts_used += static_cast<uint32_t>(parts);
  std::copy_n(iov, parts, copy);
  *header = msghdr{};
  header->msg_iov = copy;
  header->msg_iovlen = static_cast<size_t>(parts);
  io_uring_sqe* sqe = Begin(data, IORING_OP_SENDMSG, fd);
  sqe->addr = reinterpret_cast<uint64_t>(header);
  sqe->len = 1;
  sqe->msg_flags = MSG_WAITALL | MSG_NOSIGNAL;
  return kSendPending;
}

void UringDriver::Enter(uint32_t wait_count, uint32_t flags) {
  const int result = ring_.Enter(wait_count, flags);
  // EAGAIN: no memory for requests now. EBUSY: completions must be reaped first. Both: what is queued stays queued.
  if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY) {
    errno = -result;
    CHECK(false && "io_uring_enter failed");
  }
  if (ring_.Unsubmitted() == 0) {
    arena_.headers_used = 0;
    arena_.parts_used = 0;
  }
  if (!spilled_.empty()) [[unlikely]] {
    MoveSpilled();
    if (result == -EAGAIN) ::sched_yield();
  }
}

void UringDriver::RunTaskWork() {
  for (int round = 0; round < kMaxTaskWorkRounds && ring_.HasTaskWork() && ReadyCount() < kBatchCompletions; ++round) {
    Enter(0, IORING_ENTER_GETEVENTS);
  }
}

void UringDriver::SubmitQueued() {
  const bool needs_enter = ring_.NeedsEnter();
  if (ring_.Unsubmitted() > 0 || needs_enter) Enter(0, needs_enter ? IORING_ENTER_GETEVENTS : 0);
  while (!spilled_.empty()) {
    const uint32_t before = ring_.Unsubmitted();
    Enter(0, 0);
    if (before > 0 && ring_.Unsubmitted() >= before) break;  // the kernel takes no more for now
  }
  RunTaskWork();
}

void UringDriver::Submit() {
  sent_at_once_ = false;
  if (mode_ == UringMode::kPolledEventfd) {
    SubmitAndArmEventfd();
  } else {
    SubmitQueued();
  }
}

void UringDriver::RingEventfd() {
  if (eventfd_is_up_) return;
  const uint64_t one = 1;
  CHECK_EQ(::write(eventfd_.Get(), &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
  eventfd_is_up_ = true;
}

// The eventfd is left up while there is anything to reap, and the kernel rings it only while there is nothing:
// otherwise it rings twice per batch, when work is deferred and when that work posts its completion.
void UringDriver::SubmitAndArmEventfd() {
  ring_.SetEventfdEnabled(false);
  if (eventfd_armed_) {
    eventfd_is_up_ = eventfd_is_up_ || ring_.NeedsEnter() || ring_.CompletionTail() != tail_when_armed_;
    eventfd_armed_ = false;
  }
  const bool idle = ring_.Unsubmitted() == 0 && !ring_.NeedsEnter() && !HasReady();
  SubmitQueued();
  if (HasReady() || ring_.NeedsEnter() || !spilled_.empty()) return RingEventfd();

  // With nothing found the eventfd is read even without evidence that it is up: a wake-up without a cause must not
  // repeat.
  if (eventfd_is_up_ || idle) {
    uint64_t count;
    static_cast<void>(!::read(eventfd_.Get(), &count, sizeof(count)));
    eventfd_is_up_ = false;
  }
  tail_when_armed_ = ring_.CompletionTail();
  eventfd_armed_ = true;
  ring_.SetEventfdEnabled(true);
  // What came while the kernel was not to ring.
  if (ring_.NeedsEnter() || HasReady()) RingEventfd();
}

void UringDriver::Wait() {
  CHECK(mode_ == UringMode::kOwnThread);
  if (HasReady()) {
    SubmitQueued();
    return;
  }
  do {
    Enter(1, IORING_ENTER_GETEVENTS);
  } while (!HasReady());
  RunTaskWork();
}

bool UringDriver::HasReady() const {
  uint32_t head = ring_.CompletionHead();
  const uint32_t tail = ring_.CompletionTail();
  while (head != tail && UserData::Unpack(ring_.CompletionAt(head).user_data).op == Op::kNone) ++head;
  ring_.AdvanceTo(head);
  return head != tail;
}

size_t UringDriver::Reap(std::span<Completion> completions) {
  if (mode_ != UringMode::kOwnThread && !HasReady() && ring_.NeedsEnter()) RunTaskWork();
  uint32_t head = ring_.CompletionHead();
  const uint32_t tail = ring_.CompletionTail();
  size_t count = 0;
  for (; head != tail && count < completions.size(); ++head) {
    const io_uring_cqe& cqe = ring_.CompletionAt(head);
    const UserData data = UserData::Unpack(cqe.user_data);
    if (data.op == Op::kNone) continue;
    Completion& completion = completions[count++];
    completion.data = data;
    completion.result = cqe.res;
    completion.more = (cqe.flags & IORING_CQE_F_MORE) != 0;
    completion.has_data = false;
    completion.buffer = 0;
    if ((cqe.flags & IORING_CQE_F_BUFFER) != 0) {
      completion.buffer = cqe.flags >> IORING_CQE_BUFFER_SHIFT;
      completion.has_data = cqe.res > 0;
      handed_out_.push_back(static_cast<uint16_t>(completion.buffer));
    }
    if (cqe.res == -ENOBUFS) starved_ = true;
    if (data.op == Op::kWatch && cqe.res > 0) completion.result = 0;
    if (!completion.more) {
      DCHECK(in_flight_ > 0);
      --in_flight_;
    }
  }
  ring_.AdvanceTo(head);
  return count;
}

std::span<const uint8_t> UringDriver::Take(Completion& completion) {
  DCHECK(completion.has_data);
  completion.has_data = false;
  const bool in_block = (completion.buffer & ProvidedBlocks::kIdBit) != 0;
  const uint8_t* bytes = in_block ? blocks_.Data(completion.buffer) : buffers_.Data(completion.buffer);
  return {bytes, static_cast<size_t>(completion.result)};
}

std::span<const uint8_t> UringDriver::ReceiveAtOnce(int fd, bool in_blocks, Completion& completion) {
  completion.result = -EAGAIN;
  completion.buffer = kSpare;
  if (spare_ == nullptr) spare_ = landing().Make();
  if (spare_ == nullptr) return {};
  const size_t most = in_blocks ? kBlockBytes : std::min(kBlockBytes, options_.receive_buffer_bytes);
  ssize_t received;
  do {
    received = ::recv(fd, spare_->data(), most, MSG_DONTWAIT);
  } while (received < 0 && errno == EINTR);
  completion.result = received < 0 ? -errno : static_cast<int32_t>(received);
  return {spare_->data(), static_cast<size_t>(std::max<ssize_t>(received, 0))};
}

// No more than half of those that circulate: the others keep receiving, however long JavaScript takes.
bool UringDriver::Hold(const uint8_t* bytes) {
  if (!buffers_.IsShared() || !buffers_.Contains(bytes)) return false;
  uint16_t& holds = holds_[buffers_.BufferOf(bytes)];
  if (holds == 0) {
    if (held_ >= buffers_.circulating() / 2) return false;
    ++held_;
  }
  ++holds;
  return true;
}

void UringDriver::Release(const uint8_t* bytes) {
  const uint32_t buffer = buffers_.BufferOf(bytes);
  CHECK_GT(holds_[buffer], 0);
  if (--holds_[buffer] > 0) return;
  --held_;
  released_ = true;
  buffers_.Return(buffer);
}

Block* UringDriver::Detach(const Completion& completion) {
  if (completion.buffer == kSpare) return std::exchange(spare_, nullptr);
  return (completion.buffer & ProvidedBlocks::kIdBit) != 0 ? blocks_.Detach(completion.buffer) : nullptr;
}

void UringDriver::EndDispatch() {
  if (handed_out_.empty() && !starved_ && !released_) return;
  for (const uint16_t buffer : handed_out_) {
    if ((buffer & ProvidedBlocks::kIdBit) != 0) {
      blocks_.Return(buffer);
    } else if (holds_[buffer] == 0) {
      buffers_.Return(buffer);
    }
  }
  handed_out_.clear();
  buffers_.Publish(starved_);
  if (blocks_.IsOpen()) blocks_.Publish(starved_);
  starved_ = released_ = false;
}

size_t UringDriver::FreeReceiveBuffers(bool in_blocks) const {
  const uint32_t circulating = in_blocks && blocks_.IsOpen() ? blocks_.circulating() : buffers_.circulating();
  const size_t taken = ReadyCount() + handed_out_.size() + (in_blocks ? 0 : held_);
  return circulating > taken ? circulating - taken : 1;
}

int UringDriver::PollFd() const {
  switch (mode_) {
    case UringMode::kPolledRing:
      return ring_.ring_fd();
    case UringMode::kPolledEventfd:
      return poll_set_.Get();
    case UringMode::kOwnThread:
      break;
  }
  return -1;  // nobody may poll a DEFER_TASKRUN ring: it never wakes
}

}  // namespace ringway
