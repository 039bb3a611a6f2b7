#include "driver/epoll_driver.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/check.h"
#include "driver/send_at_once.h"

namespace ringway {
namespace {

constexpr size_t kEventsPerFetch = 512;
constexpr size_t kReceiveBufferBytes = kBlockBytes;
// A crowd at one listener must not keep everybody else waiting.
constexpr int kMaxAcceptsPerFetch = 64;
// More parts than this make a short send.
constexpr int kMaxMessageParts = 64;

UserData Of(uint64_t packed) { return UserData::Unpack(packed); }

}  // namespace

EpollDriver::~EpollDriver() {
  if (block_ != nullptr) block_->Unref();
}

int EpollDriver::Start() {
  epoll_.Reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_.Valid()) return -errno;
  if (options_.external_loop) {
    doorbell_.Reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!doorbell_.Valid()) return -errno;
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = UINT64_MAX;
    if (::epoll_ctl(epoll_.Get(), EPOLL_CTL_ADD, doorbell_.Get(), &event) != 0) return -errno;
  }
  events_.resize(kEventsPerFetch);
  receive_buffer_.reset(new uint8_t[kReceiveBufferBytes]);
  return 0;
}

EpollDriver::Descriptor& EpollDriver::At(int fd) {
  CHECK_GE(fd, 0);
  const size_t index = static_cast<size_t>(fd);
  if (index >= descriptors_.size()) descriptors_.resize(std::max(index + 1, descriptors_.size() * 2));
  return descriptors_[index];
}

void EpollDriver::Changed(int fd) {
  Descriptor& descriptor = At(fd);
  if (descriptor.changed) return;
  descriptor.changed = true;
  changed_.push_back(fd);
}

void EpollDriver::StartInput(UserData data, int fd) {
  Descriptor& descriptor = At(fd);
  CHECK(Of(descriptor.input).op == Op::kNone);
  descriptor.input = data.Pack();
  ++in_flight_;
  Changed(fd);
}

void EpollDriver::StartOutput(UserData data, int fd) {
  Descriptor& descriptor = At(fd);
  CHECK(Of(descriptor.output).op == Op::kNone);
  descriptor.output = data.Pack();
  ++in_flight_;
  Changed(fd);
}

// The operation stays in flight until Reap has handed its last completion out.
void EpollDriver::PushFinal(UserData data, int32_t result) {
  Completion& completion = ready_.emplace_back();
  completion.data = data;
  completion.result = result;
}

void EpollDriver::EndInput(int fd, int32_t result) {
  Descriptor& descriptor = At(fd);
  PushFinal(Of(descriptor.input), result);
  descriptor.input = 0;
  Changed(fd);
}

void EpollDriver::EndOutput(int fd, int32_t result) {
  Descriptor& descriptor = At(fd);
  PushFinal(Of(descriptor.output), result);
  descriptor.output = 0;
  if (descriptor.pending_send != kNoSend) {
    free_sends_.push_back(descriptor.pending_send);
    descriptor.pending_send = kNoSend;
  }
  Changed(fd);
}

void EpollDriver::Accept(UserData data, int listener_fd) { StartInput(data, listener_fd); }

void EpollDriver::Watch(UserData data, int fd) { StartInput(data, fd); }

void EpollDriver::Receive(UserData data, int fd) {
  StartInput(data, fd);
  At(fd).in_blocks = false;
}

void EpollDriver::ReceiveBlocks(UserData data, int fd) {
  StartInput(data, fd);
  At(fd).in_blocks = true;
}

void EpollDriver::StopReceive(UserData data, int fd) {
  if (At(fd).input == data.Pack()) EndInput(fd, -ECANCELED);
}

void EpollDriver::Connect(UserData data, int fd, const sockaddr* address, socklen_t length) {
  if (::connect(fd, address, length) == 0) {
    ++in_flight_;
    PushFinal(data, 0);
  } else if (errno == EINPROGRESS) {
    StartOutput(data, fd);
  } else {
    ++in_flight_;
    PushFinal(data, -errno);
  }
}

int32_t EpollDriver::Send(UserData data, int fd, const iovec* iov, int iov_count) {
  CHECK_GT(iov_count, 0);
  CHECK(Of(At(fd).output).op == Op::kNone);
  const int parts = std::min(iov_count, kMaxMessageParts);
  const int32_t sent = SendAtOnce(fd, iov, parts);
  if (sent != -EAGAIN) [[likely]]
    return sent;
  StartOutput(data, fd);
  ParkSend(At(fd), iov, parts);
  return kSendPending;
}

void EpollDriver::ParkSend(Descriptor& descriptor, const iovec* iov, int count) {
  if (free_sends_.empty()) {
    free_sends_.push_back(static_cast<uint32_t>(pending_sends_.size()));
    pending_sends_.emplace_back().parts.reset(new iovec[kMaxMessageParts]);
  }
  descriptor.pending_send = free_sends_.back();
  free_sends_.pop_back();
  PendingSend& send = pending_sends_[descriptor.pending_send];
  std::copy_n(iov, count, send.parts.get());
  send.count = count;
}

void EpollDriver::Cancel(UserData, int fd) {
  Descriptor& descriptor = At(fd);
  if (Of(descriptor.input).op != Op::kNone) EndInput(fd, -ECANCELED);
  if (Of(descriptor.output).op != Op::kNone) EndOutput(fd, -ECANCELED);
}

void EpollDriver::Forget(int fd) {
  Descriptor& descriptor = At(fd);
  CHECK(Of(descriptor.input).op == Op::kNone && Of(descriptor.output).op == Op::kNone);
  // By hand: a close does not unregister a descriptor that a forked child still holds.
  if (descriptor.registered != 0) ::epoll_ctl(epoll_.Get(), EPOLL_CTL_DEL, fd, nullptr);
  descriptor.registered = 0;
  descriptor.data_announced = descriptor.hung_up = false;
  ++descriptor.generation;
}

// Runs before every sleep, so that what was started and stopped within a turn costs nothing. A descriptor that waits
// for nothing leaves the set: epoll reports hang-ups even to those who asked for no event.
void EpollDriver::ApplyChanges() {
  // By index: a failure below ends an operation, which appends to changed_.
  for (size_t i = 0; i < changed_.size(); ++i) {
    const int fd = changed_[i];
    Descriptor& descriptor = At(fd);
    descriptor.changed = false;
    const Op input = Of(descriptor.input).op;
    uint32_t wanted = 0;
    if (input == Op::kWatch) {
      wanted |= EPOLLIN | EPOLLET;  // once per time it turns readable
    } else if (input != Op::kNone) {
      wanted |= EPOLLIN;
    }
    if (Of(descriptor.output).op != Op::kNone) wanted |= EPOLLOUT;
    if (wanted == descriptor.registered) continue;

    epoll_event event{};
    event.events = wanted;
    event.data.u64 = static_cast<uint32_t>(fd) | (uint64_t{descriptor.generation} << 32);
    const int operation = wanted == 0 ? EPOLL_CTL_DEL : descriptor.registered == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    const int error = ::epoll_ctl(epoll_.Get(), operation, fd, &event) == 0 ? 0 : errno;
    descriptor.registered = error == 0 ? wanted : 0;
    if (error != 0 && wanted != 0) {
      if (input != Op::kNone) EndInput(fd, -error);
      if (Of(descriptor.output).op != Op::kNone) EndOutput(fd, -error);
    }
  }
  changed_.clear();
}

void EpollDriver::AcceptAll(int fd, UserData data) {
  for (int i = 0; i < kMaxAcceptsPerFetch; ++i) {
    const int accepted = ::accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (accepted >= 0) {
      Completion& completion = ready_.emplace_back();
      completion.data = data;
      completion.result = accepted;
      completion.more = true;
      continue;
    }
    // A connection that its client took back is nobody's error.
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno != EAGAIN) EndInput(fd, -errno);
    return;
  }
}

void EpollDriver::OnInput(int fd) {
  Descriptor& descriptor = At(fd);
  const UserData data = Of(descriptor.input);
  switch (data.op) {
    case Op::kAccept:
      return AcceptAll(fd, data);
    case Op::kReceive:
      if (descriptor.data_announced) return;
      descriptor.data_announced = true;
      break;
    case Op::kWatch:
      break;
    default:
      return;
  }
  Completion& completion = ready_.emplace_back();
  completion.data = data;
  completion.more = true;
  completion.has_data = data.op == Op::kReceive;
  completion.buffer = static_cast<uint32_t>(fd);
}

void EpollDriver::OnOutput(int fd) {
  const Descriptor& descriptor = At(fd);
  const UserData data = Of(descriptor.output);
  if (data.op == Op::kConnect) {
    int error = 0;
    socklen_t length = sizeof(error);
    if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) error = errno;
    EndOutput(fd, -error);
  } else if (data.op == Op::kSend) {
    const PendingSend& send = pending_sends_[descriptor.pending_send];
    const int32_t sent = SendAtOnce(fd, send.parts.get(), send.count);
    if (sent != -EAGAIN) EndOutput(fd, sent);
  }
}

void EpollDriver::Fetch(int timeout_ms) {
  may_ask_ = false;
  ApplyChanges();
  if (HasReady()) timeout_ms = 0;
  const int count = ::epoll_wait(epoll_.Get(), events_.data(), static_cast<int>(events_.size()), timeout_ms);
  if (count < 0) {
    CHECK_EQ(errno, EINTR);
    return;
  }
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events_[static_cast<size_t>(i)];
    if (event.data.u64 == UINT64_MAX) {
      SetDoorbell(false);
      continue;
    }
    const int fd = static_cast<int>(static_cast<uint32_t>(event.data.u64));
    if (At(fd).generation != static_cast<uint32_t>(event.data.u64 >> 32)) continue;
    // An error or a hang-up goes to whoever waits: their own system call says which it was. It says so once, and first
    // to who reads, as in libuv: the send is told next time, if it then still waits.
    constexpr uint32_t kTrouble = EPOLLERR | EPOLLHUP;
    const bool has_trouble = (event.events & kTrouble) != 0;
    if ((event.events & EPOLLHUP) != 0) At(fd).hung_up = true;
    if (has_trouble || (event.events & EPOLLIN) != 0) OnInput(fd);
    if (has_trouble && Of(At(fd).input).op == Op::kReceive) continue;
    if (has_trouble || (event.events & EPOLLOUT) != 0) OnOutput(fd);
  }
}

void EpollDriver::SetDoorbell(bool up) {
  if (doorbell_is_up_ == up) return;
  doorbell_is_up_ = up;
  uint64_t count = 1;
  const ssize_t moved =
      up ? ::write(doorbell_.Get(), &count, sizeof(count)) : ::read(doorbell_.Get(), &count, sizeof(count));
  CHECK_EQ(moved, static_cast<ssize_t>(sizeof(count)));
}

void EpollDriver::Submit() {
  ApplyChanges();
  may_ask_ = true;
  if (options_.external_loop) SetDoorbell(HasReady());
}

void EpollDriver::Wait() {
  CHECK(!options_.external_loop);
  do {
    Fetch(-1);
  } while (!HasReady());
}

size_t EpollDriver::Reap(std::span<Completion> completions) {
  has_sequel_ = false;
  const size_t count = HandOut(completions);
  if (count == completions.size() || !may_ask_) return count;
  Fetch(0);
  return count + HandOut(completions.subspan(count));
}

size_t EpollDriver::HandOut(std::span<Completion> completions) {
  const size_t count = std::min(completions.size(), ready_.size() - ready_next_);
  for (size_t i = 0; i < count; ++i) {
    completions[i] = ready_[ready_next_ + i];
    if (!completions[i].more) --in_flight_;
  }
  ready_next_ += count;
  if (ready_next_ == ready_.size()) {
    ready_.clear();
    ready_next_ = 0;
  }
  return count;
}

std::span<const uint8_t> EpollDriver::Take(Completion& completion) {
  DCHECK(completion.has_data);
  completion.has_data = false;
  const int fd = static_cast<int>(completion.buffer);
  Descriptor& descriptor = At(fd);
  const std::span<uint8_t> room = std::exchange(room_, {});
  completion.result = -EAGAIN;
  // Stopped, cancelled or closed in the meantime: what the socket holds is for the next receive.
  descriptor.data_announced = false;
  if (descriptor.input != completion.data.Pack()) return {};

  if (descriptor.in_blocks && block_ == nullptr) block_ = landing().Make();
  taken_into_block_ = descriptor.in_blocks && block_ != nullptr;
  const std::span<uint8_t> own(taken_into_block_ ? block_->data() : receive_buffer_.get(), kReceiveBufferBytes);
  const std::span<uint8_t> buffer = room.empty() || taken_into_block_ ? own : room;
  ssize_t received;
  do {
    received = ::recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
  } while (received < 0 && errno == EINTR);
  if (received > 0) {
    completion.result = static_cast<int32_t>(received);
    completion.has_data = descriptor.hung_up || (taken_into_block_ && received == kReceiveBufferBytes);
    return buffer.first(static_cast<size_t>(received));
  }
  // The end comes as a completion of its own, as it does from io_uring.
  const int32_t end = received < 0 ? -errno : 0;
  if (end == -EAGAIN) return {};
  has_sequel_ = has_sequel_ || descriptor.hung_up;
  EndInput(fd, end);
  return {};
}

Block* EpollDriver::Detach(const Completion&) {
  return std::exchange(taken_into_block_, false) ? std::exchange(block_, nullptr) : nullptr;
}

}  // namespace ringway
