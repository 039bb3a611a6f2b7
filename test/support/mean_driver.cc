#include "support/mean_driver.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace ringway::test {
namespace {

constexpr uint8_t kPoison = 0xdd;

bool IsOutput(Op op) { return op == Op::kConnect || op == Op::kSend; }

short EventsOf(Op op) { return IsOutput(op) ? POLLOUT : POLLIN; }

bool IsReady(int fd, Op op) {
  pollfd poll{fd, EventsOf(op), 0};
  return ::poll(&poll, 1, 0) == 1;
}

}  // namespace

void MeanDriver::Fail(const char* what) const {
  std::fprintf(stderr, "MeanDriver (seed %llu): %s\n", static_cast<unsigned long long>(options_.seed), what);
  std::fflush(stderr);
  std::abort();
}

int MeanDriver::Start() {
  for (uint32_t i = 0; i < options_.driver.receive_buffers; ++i) {
    buffers_.emplace_back(options_.driver.receive_buffer_bytes, kPoison);
    free_buffers_.push_back(i);
  }
  filled_.resize(buffers_.size());
  late_buffer_.resize(options_.driver.receive_buffer_bytes);
  at_once_.resize(options_.driver.receive_buffer_bytes);
  return 0;
}

std::span<const uint8_t> MeanDriver::ReceiveAtOnce(int fd, bool, Completion& completion) {
  if (IsBusy(fd, false)) Fail("a receive at once beside one that is armed");
  std::fill(at_once_.begin(), at_once_.end(), kPoison);
  const ssize_t received = ::recv(fd, at_once_.data(), Some(at_once_.size()), MSG_DONTWAIT);
  completion.result = received < 0 ? -errno : static_cast<int32_t>(received);
  return {at_once_.data(), static_cast<size_t>(std::max<ssize_t>(received, 0))};
}

bool MeanDriver::IsBusy(int fd, bool output) const {
  const auto begun = [fd, output](const Operation& operation) {
    return operation.fd == fd && IsOutput(operation.data.op) == output;
  };
  // Over, but nobody was told.
  const auto ended = [fd, output](const Posted& posted) {
    return posted.fd == fd && !posted.completion.more && IsOutput(posted.completion.data.op) == output;
  };
  return std::any_of(operations_.begin(), operations_.end(), begun) ||
         std::any_of(posted_.begin(), posted_.end(), ended);
}

void MeanDriver::Begin(Operation operation) {
  if (IsBusy(operation.fd, IsOutput(operation.data.op))) Fail("a second operation of a kind on one descriptor");
  operations_.push_back(std::move(operation));
  ++in_flight_;
}

void MeanDriver::Connect(UserData data, int fd, const sockaddr* address, socklen_t length) {
  Begin({.data = data, .fd = fd, .given_address = address, .address_length = length});
}

int32_t MeanDriver::SendSome(int fd, const iovec* iov, size_t count) {
  size_t total = 0;
  for (size_t i = 0; i < count; ++i) total += iov[i].iov_len;
  size_t left = Some(total);
  std::vector<iovec> parts;
  for (size_t i = 0; i < count && left > 0; ++i) {
    parts.push_back({iov[i].iov_base, std::min(left, iov[i].iov_len)});
    left -= parts.back().iov_len;
  }
  msghdr header{};
  header.msg_iov = parts.data();
  header.msg_iovlen = parts.size();
  const ssize_t sent = ::sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  return sent < 0 ? -errno : static_cast<int32_t>(sent);
}

int32_t MeanDriver::Send(UserData data, int fd, const iovec* iov, int iov_count) {
  if (iov_count <= 0) Fail("a send without parts");
  if (IsBusy(fd, true)) Fail("a second send on one descriptor");
  if (!Chance(options_.pending_percent)) {
    const int32_t sent = SendSome(fd, iov, static_cast<size_t>(iov_count));
    if (sent != -EAGAIN) return sent;
  }
  Begin({.data = data, .fd = fd, .parts = {iov, iov + iov_count}});
  return kSendPending;
}

void MeanDriver::StopReceive(UserData data, int fd) {
  for (Operation& operation : operations_) {
    if (operation.fd == fd && operation.data == data) operation.cancelled = true;
  }
}

void MeanDriver::Cancel(UserData, int fd) {
  for (Operation& operation : operations_) {
    if (operation.fd == fd) operation.cancelled = true;
  }
}

void MeanDriver::Forget(int fd) {
  if (IsBusy(fd, false) || IsBusy(fd, true)) Fail("a descriptor was forgotten with operations in flight");
}

void MeanDriver::Post(size_t index, Completion completion) {
  completion.data = operations_[index].data;
  posted_.push_back({completion, operations_[index].fd});
  if (!completion.more) operations_.erase(operations_.begin() + static_cast<ptrdiff_t>(index));
}

void MeanDriver::ProgressReceive(size_t index) {
  Operation& operation = operations_[index];
  if (operation.announced) return;
  if (Chance(options_.false_data_percent)) {
    operation.announced = true;
    return Post(index, {.data = {}, .more = true, .has_data = true, .buffer = kNoBuffer});
  }
  if (free_buffers_.empty() || Chance(options_.no_buffer_percent)) return Finish(index, -ENOBUFS);
  const uint32_t buffer = free_buffers_.back();
  const ssize_t received = ::recv(operation.fd, buffers_[buffer].data(), Some(buffers_[buffer].size()), MSG_DONTWAIT);
  if (received <= 0) return errno == EAGAIN && received < 0 ? void() : Finish(index, received < 0 ? -errno : 0);
  free_buffers_.pop_back();
  filled_[buffer] = static_cast<size_t>(received);
  Post(index, {.data = {},
               .result = static_cast<int32_t>(received),
               .more = !Chance(options_.lost_more_percent),
               .has_data = true,
               .buffer = buffer});
}

void MeanDriver::Progress(size_t index) {
  Operation& operation = operations_[index];
  // What already happened may still come before a cancellation.
  if (operation.cancelled && (operation.announced || !Chance(options_.late_percent))) return Finish(index, -ECANCELED);
  if (operation.connects) {
    const auto* address = reinterpret_cast<const sockaddr*>(&operation.address);
    const int result = ::connect(operation.fd, address, operation.address_length);
    operation.connects = false;
    if (result == 0 || errno != EINPROGRESS) Finish(index, result == 0 ? 0 : -errno);
    return;
  }
  if (!IsReady(operation.fd, operation.data.op)) return;
  switch (operation.data.op) {
    case Op::kReceive:
      return ProgressReceive(index);
    case Op::kAccept: {
      const int accepted = ::accept4(operation.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (accepted < 0) return errno == EAGAIN ? void() : Finish(index, -errno);
      return Post(index, {.data = {}, .result = accepted, .more = !Chance(options_.lost_more_percent)});
    }
    case Op::kConnect: {
      int error = 0;
      socklen_t length = sizeof error;
      ::getsockopt(operation.fd, SOL_SOCKET, SO_ERROR, &error, &length);
      return Finish(index, -error);
    }
    case Op::kSend: {
      const int32_t sent = SendSome(operation.fd, operation.parts.data(), operation.parts.size());
      if (sent != -EAGAIN) Finish(index, sent);
      return;
    }
    case Op::kWatch:
      if (operation.announced) return;
      operation.announced = true;
      return Post(index, {.data = {}, .more = !Chance(options_.lost_more_percent)});
    case Op::kNone:
      break;
  }
  Fail("an operation of no kind");
}

// One round over all operations, in any order; each moves at most once.
void MeanDriver::Step() {
  std::vector<std::pair<UserData, int>> order;
  for (const Operation& operation : operations_) {
    if (operation.submitted) order.emplace_back(operation.data, operation.fd);
  }
  std::shuffle(order.begin(), order.end(), random_);
  for (const auto& [data, fd] : order) {
    if (Chance(options_.late_percent)) continue;
    const auto found = std::find_if(operations_.begin(), operations_.end(), [&](const Operation& operation) {
      return operation.data == data && operation.fd == fd;
    });
    if (found != operations_.end()) Progress(static_cast<size_t>(found - operations_.begin()));
  }
}

void MeanDriver::Submit() {
  for (Operation& operation : operations_) {
    operation.submitted = true;
    // The kernel copies an address when it takes the submission, not before.
    if (operation.given_address == nullptr) continue;
    std::memcpy(&operation.address, operation.given_address, operation.address_length);
    operation.given_address = nullptr;
    operation.connects = true;
  }
}

void MeanDriver::Wait() {
  Submit();
  while (posted_.empty()) {
    Step();
    if (!posted_.empty()) return;
    std::vector<pollfd> polls;
    bool at_once = false;
    for (const Operation& operation : operations_) {
      polls.push_back({operation.fd, EventsOf(operation.data.op), 0});
      at_once = at_once || operation.cancelled || operation.connects;
    }
    if (::poll(polls.data(), polls.size(), at_once ? 0 : -1) < 0 && errno != EINTR) Fail("poll failed");
  }
}

size_t MeanDriver::Reap(std::span<Completion> completions) {
  Step();
  size_t count = 0;
  while (count < completions.size() && !posted_.empty()) {
    Completion& completion = completions[count++];
    completion = posted_.front().completion;
    posted_.pop_front();
    if (completion.has_data && completion.buffer != kNoBuffer) handed_out_.push_back(completion.buffer);
    if (!completion.more) --in_flight_;
    if (completion.data.op != Op::kWatch) continue;
    for (Operation& operation : operations_) {
      if (operation.data == completion.data) operation.announced = false;
    }
  }
  return count;
}

std::span<const uint8_t> MeanDriver::Take(Completion& completion) {
  const std::span<uint8_t> room = std::exchange(room_, {});
  if (!completion.has_data) Fail("bytes were taken twice, or where there are none");
  completion.has_data = false;
  std::fill(late_buffer_.begin(), late_buffer_.end(), kPoison);
  if (completion.buffer != kNoBuffer) return {buffers_[completion.buffer].data(), filled_[completion.buffer]};

  completion.result = -EAGAIN;
  const auto found = std::find_if(operations_.begin(), operations_.end(), [&completion](const Operation& operation) {
    return operation.data == completion.data && operation.announced;
  });
  if (found == operations_.end()) return {};
  found->announced = false;
  if (found->cancelled || Chance(options_.late_percent)) return {};
  const std::span<uint8_t> buffer =
      room.empty() ? late_buffer_ : room.first(std::min(room.size(), late_buffer_.size()));
  const ssize_t received = ::recv(found->fd, buffer.data(), Some(buffer.size()), MSG_DONTWAIT);
  completion.result = received < 0 ? -errno : static_cast<int32_t>(received);
  if (received > 0) return buffer.first(static_cast<size_t>(received));
  // As with epoll, the end is found only now, and comes as a completion of its own.
  if (completion.result != -EAGAIN) Finish(static_cast<size_t>(found - operations_.begin()), completion.result);
  completion.result = -EAGAIN;
  return {};
}

void MeanDriver::EndDispatch() {
  for (const uint32_t buffer : handed_out_) {
    std::fill(buffers_[buffer].begin(), buffers_[buffer].end(), kPoison);
    free_buffers_.push_back(buffer);
  }
  handed_out_.clear();
}

}  // namespace ringway::test
