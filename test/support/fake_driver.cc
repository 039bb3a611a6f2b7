#include "support/fake_driver.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace ringway::test {
namespace {

constexpr uint8_t kPoison = 0xdd;
constexpr int kMaxSteps = 100000;

bool IsOutput(Op op) { return op == Op::kConnect || op == Op::kSend; }

}  // namespace

void FakeDriver::Fail(const char* what) const {
  std::fprintf(stderr, "FakeDriver (seed %llu): %s\n", static_cast<unsigned long long>(options_.seed), what);
  std::fflush(stderr);
  std::abort();
}

bool FakeDriver::Chance(uint32_t percent) { return random_() % 100 < percent; }

size_t FakeDriver::Some(size_t most) { return Chance(options_.short_percent) ? 1 + random_() % most : most; }

// The lowest free number, as the kernel gives it: the next owner of a descriptor comes at once.
int FakeDriver::NewEnd(End::Kind kind) {
  int fd = kFirstFd;
  while (ends_.contains(fd)) ++fd;
  ends_[fd].kind = kind;
  return fd;
}

FakeDriver::End& FakeDriver::At(int fd) {
  const auto found = ends_.find(fd);
  if (found == ends_.end()) Fail("a descriptor that is not open was used");
  return found->second;
}

int FakeDriver::Start() {
  const size_t each = options_.driver.receive_buffer_bytes;
  std::span<uint8_t> memory = receive_memory_;
  if (memory.size() < each * options_.driver.receive_buffers) {
    own_memory_.resize(each * options_.driver.receive_buffers);
    memory = own_memory_;
  }
  for (uint32_t i = 0; i < options_.driver.receive_buffers; ++i) {
    buffers_.push_back(memory.subspan(i * each, each));
    std::fill(buffers_[i].begin(), buffers_[i].end(), kPoison);
    free_buffers_.push_back(i);
    free_blocks_.push_back(options_.driver.receive_buffers + i);
  }
  blocks_.resize(buffers_.size());
  filled_.resize(buffers_.size() + blocks_.size());
  return 0;
}

FakeDriver::~FakeDriver() {
  if (at_once_ != nullptr) at_once_->Unref();
  for (Block* block : blocks_) {
    if (block != nullptr) block->Unref();
  }
}

int FakeDriver::Listen() { return NewEnd(End::Kind::kListener); }

int FakeDriver::Socket() { return NewEnd(End::Kind::kStream); }

int FakeDriver::Event() { return NewEnd(End::Kind::kEvent); }

sockaddr_in FakeDriver::AddressOf(int listener) const {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = static_cast<uint32_t>(listener);
  return address;
}

std::pair<int, int> FakeDriver::Pair() {
  const int ours = NewEnd(End::Kind::kStream);
  const int theirs = NewEnd(End::Kind::kStream);
  At(ours).other = theirs;
  At(theirs).other = ours;
  return {ours, theirs};
}

int FakeDriver::PeerDial(int listener) {
  const auto [server, client] = Pair();
  At(listener).backlog.push_back(server);
  return client;
}

int FakeDriver::AcceptWaiting(int listener) {
  std::deque<int>& backlog = At(listener).backlog;
  if (backlog.empty()) return -EAGAIN;
  const int accepted = backlog.front();
  backlog.pop_front();
  return accepted;
}

void FakeDriver::StopListening(int listener) {
  const std::deque<int> backlog = std::exchange(At(listener).backlog, {});
  for (const int waiting : backlog) PeerReset(waiting);
}

void FakeDriver::RingEvent(int fd) { ++At(fd).event_count; }

void FakeDriver::ReadEvent(int fd) { At(fd).events_seen = At(fd).event_count; }

int32_t FakeDriver::Transfer(int fd, const iovec* iov, size_t count, bool may_be_short) {
  End& end = At(fd);
  if (end.reset) return -ECONNRESET;
  if (end.cannot_send || end.other < 0 || !ends_.contains(end.other)) return -EPIPE;
  End& other = At(end.other);
  size_t total = 0;
  for (size_t i = 0; i < count; ++i) total += iov[i].iov_len;
  if (total == 0) return 0;
  if (other.inbox.size() >= options_.pipe_bytes) return -EAGAIN;
  const size_t room = std::min(total, options_.pipe_bytes - other.inbox.size());
  const size_t most = may_be_short ? Some(room) : room;
  size_t left = most;
  for (size_t i = 0; i < count && left > 0; ++i) {
    const auto* bytes = static_cast<const uint8_t*>(iov[i].iov_base);
    const size_t part = std::min(left, iov[i].iov_len);
    other.inbox.insert(other.inbox.end(), bytes, bytes + part);
    left -= part;
  }
  other.arrived += most;
  return static_cast<int32_t>(most);
}

ssize_t FakeDriver::PeerSend(int fd, std::span<const uint8_t> bytes) {
  const iovec part{const_cast<uint8_t*>(bytes.data()), bytes.size()};
  return Transfer(fd, &part, 1, false);
}

ssize_t FakeDriver::PeerReceive(int fd, std::span<uint8_t> bytes) {
  End& end = At(fd);
  if (end.reset) return -ECONNRESET;
  if (end.inbox.empty()) return end.finished ? 0 : -EAGAIN;
  const size_t count = std::min(bytes.size(), end.inbox.size());
  std::copy_n(end.inbox.begin(), count, bytes.begin());
  end.inbox.erase(end.inbox.begin(), end.inbox.begin() + static_cast<ptrdiff_t>(count));
  return static_cast<ssize_t>(count);
}

void FakeDriver::ShutdownWrite(int fd) {
  End& end = At(fd);
  end.cannot_send = true;
  if (end.other >= 0 && ends_.contains(end.other)) At(end.other).finished = true;
}

void FakeDriver::Shutdown(int fd) {
  ShutdownWrite(fd);
  At(fd).finished = true;
}

void FakeDriver::PeerReset(int fd) {
  const int other = At(fd).other;
  if (other >= 0 && ends_.contains(other)) {
    At(other).reset = true;
    At(other).inbox.clear();
    At(other).other = -1;
  }
  ends_.erase(fd);
}

void FakeDriver::ResetFd(int fd) {
  if (IsBusy(fd, false) || IsBusy(fd, true)) Fail("a descriptor was closed with operations in flight");
  PeerReset(fd);
}

ssize_t FakeDriver::SendAtOnce(int fd, const iovec* iov, size_t count) {
  if (IsBusy(fd, true)) Fail("bytes were sent beside a send in flight");
  return Transfer(fd, iov, count, true);
}

void FakeDriver::CloseFd(int fd) {
  if (IsBusy(fd, false) || IsBusy(fd, true)) Fail("a descriptor was closed with operations in flight");
  StopListening(fd);
  ShutdownWrite(fd);
  const int other = At(fd).other;
  if (other >= 0 && ends_.contains(other)) At(other).other = -1;
  ends_.erase(fd);
}

bool FakeDriver::IsBusy(int fd, bool output) const {
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

void FakeDriver::Begin(Operation operation) {
  At(operation.fd);
  if (IsBusy(operation.fd, IsOutput(operation.data.op))) Fail("a second operation of a kind on one descriptor");
  operations_.push_back(std::move(operation));
  ++in_flight_;
}

void FakeDriver::Accept(UserData data, int listener_fd) { Begin({.data = data, .fd = listener_fd}); }

void FakeDriver::Receive(UserData data, int fd) { Begin({.data = data, .fd = fd}); }

void FakeDriver::ReceiveBlocks(UserData data, int fd) {
  Begin({.data = data, .fd = fd, .in_blocks = !Chance(options_.no_blocks_percent)});
}

void FakeDriver::Watch(UserData data, int fd) { Begin({.data = data, .fd = fd}); }

void FakeDriver::Connect(UserData data, int fd, const sockaddr* address, socklen_t length) {
  if (length != sizeof(sockaddr_in)) Fail("an address of another length");
  Begin({.data = data, .fd = fd, .given_address = address});
}

int32_t FakeDriver::Send(UserData data, int fd, const iovec* iov, int iov_count) {
  if (iov_count <= 0) Fail("a send without parts");
  if (IsBusy(fd, true)) Fail("a second send on one descriptor");
  if (!Chance(options_.pending_percent)) {
    const int32_t sent = Transfer(fd, iov, static_cast<size_t>(iov_count), true);
    if (sent != -EAGAIN) return sent;
  }
  Begin({.data = data, .fd = fd, .parts = {iov, iov + iov_count}});
  return kSendPending;
}

void FakeDriver::StopReceive(UserData data, int fd) {
  for (Operation& operation : operations_) {
    if (operation.fd == fd && operation.data == data) operation.cancelled = true;
  }
}

void FakeDriver::Cancel(UserData, int fd) {
  for (Operation& operation : operations_) {
    if (operation.fd == fd) operation.cancelled = true;
  }
}

void FakeDriver::Forget(int fd) {
  if (IsBusy(fd, false) || IsBusy(fd, true)) Fail("a descriptor was forgotten with operations in flight");
}

void FakeDriver::Post(size_t index, Completion completion) {
  completion.data = operations_[index].data;
  const bool queue_is_full = options_.completion_entries > 0 && posted_.size() >= options_.completion_entries;
  // Not one whose truth shows in Take: with it the operation goes on.
  if (queue_is_full && !operations_[index].announced) completion.more = false;
  posted_.push_back({completion, operations_[index].fd});
  if (!completion.more) operations_.erase(operations_.begin() + static_cast<ptrdiff_t>(index));
}

void FakeDriver::Finish(size_t index, int32_t result) { Post(index, {.data = {}, .result = result}); }

uint8_t* FakeDriver::DataOf(uint32_t buffer) {
  return IsBlock(buffer) ? blocks_[buffer - buffers_.size()]->data() : buffers_[buffer].data();
}

uint32_t FakeDriver::TakeFree(bool in_blocks) {
  std::vector<uint32_t>& free = in_blocks ? free_blocks_ : free_buffers_;
  if (free.empty()) return kNoBuffer;
  const uint32_t buffer = free.back();
  free.pop_back();
  if (in_blocks) blocks_[buffer - buffers_.size()] = Block::Make(kBlockBytes);
  return buffer;
}

// Nobody may look at its bytes any more; a block that was detached is not ours.
void FakeDriver::Poison(uint32_t buffer) {
  if (IsBlock(buffer) && blocks_[buffer - buffers_.size()] == nullptr) return;
  std::fill_n(DataOf(buffer), filled_[buffer], kPoison);
}

void FakeDriver::GiveBack(uint32_t buffer) {
  Poison(buffer);
  if (!IsBlock(buffer)) return free_buffers_.push_back(buffer);
  if (Block* block = std::exchange(blocks_[buffer - buffers_.size()], nullptr)) block->Unref();
  free_blocks_.push_back(buffer);
}

bool FakeDriver::ProgressReceive(size_t index) {
  Operation& operation = operations_[index];
  End& end = At(operation.fd);
  const bool trouble = end.reset || (end.inbox.empty() && end.finished);
  if (!trouble && end.inbox.empty()) return false;
  if (Chance(options_.false_data_percent)) {
    operation.announced = true;
    Post(index, {.data = {}, .more = true, .has_data = true, .buffer = kNoBuffer});
    return true;
  }
  if (trouble) {
    Finish(index, end.reset ? -ECONNRESET : 0);
    return true;
  }
  // Drawn only where asked for: seeds and corpora keep their meaning.
  const bool denied = options_.no_buffer_percent > 0 && Chance(options_.no_buffer_percent);
  const uint32_t buffer = denied ? kNoBuffer : TakeFree(operation.in_blocks);
  if (buffer == kNoBuffer) {
    Finish(index, -ENOBUFS);
    return true;
  }
  const size_t room = operation.in_blocks ? kBlockBytes : buffers_[buffer].size();
  const size_t count = Some(std::min(end.inbox.size(), room));
  std::copy_n(end.inbox.begin(), count, DataOf(buffer));
  end.inbox.erase(end.inbox.begin(), end.inbox.begin() + static_cast<ptrdiff_t>(count));
  filled_[buffer] = count;
  Post(index, {.data = {},
               .result = static_cast<int32_t>(count),
               .more = !Chance(options_.lost_more_percent),
               .has_data = true,
               .buffer = buffer});
  return true;
}

bool FakeDriver::ProgressAccept(size_t index) {
  const int accepted = AcceptWaiting(operations_[index].fd);
  if (accepted < 0) return false;
  Post(index, {.data = {}, .result = accepted, .more = !Chance(options_.lost_more_percent)});
  return true;
}

void FakeDriver::ProgressConnect(size_t index) {
  const Operation& operation = operations_[index];
  const int listener = static_cast<int>(operation.address.sin_addr.s_addr);
  const auto found = ends_.find(listener);
  if (found == ends_.end() || found->second.kind != End::Kind::kListener) return Finish(index, -ECONNREFUSED);
  const int ours = operation.fd;
  const int theirs = NewEnd(End::Kind::kStream);
  At(ours).other = theirs;
  At(theirs).other = ours;
  At(listener).backlog.push_back(theirs);
  Finish(index, 0);
}

bool FakeDriver::ProgressSend(size_t index) {
  const Operation& operation = operations_[index];
  const int32_t sent = Transfer(operation.fd, operation.parts.data(), operation.parts.size(), true);
  if (sent == -EAGAIN) return false;
  Finish(index, sent);
  return true;
}

// Errors that each kind of operation may meet whatever its peer does. What was to be transferred was not.
bool FakeDriver::Trouble(size_t index) {
  if (!Chance(options_.trouble_percent)) return false;
  static constexpr int kAcceptErrors[] = {EMFILE, ENFILE, ENOMEM, ECONNABORTED};
  static constexpr int kConnectErrors[] = {ETIMEDOUT, ENETUNREACH, EADDRNOTAVAIL, ENOMEM};
  static constexpr int kStreamErrors[] = {ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENOMEM};
  const Operation& operation = operations_[index];
  const size_t choice = random_() % 4;
  switch (operation.data.op) {
    case Op::kAccept:
      Finish(index, -kAcceptErrors[choice]);
      return true;
    case Op::kConnect:
      Finish(index, -kConnectErrors[choice]);
      return true;
    case Op::kReceive:
    case Op::kSend:
      Finish(index, -kStreamErrors[choice]);
      return true;
    default:
      return false;
  }
}

// Whether the operation gave a completion.
bool FakeDriver::Progress(size_t index) {
  Operation& operation = operations_[index];
  // What already happened may still come before a cancellation.
  const bool cancel_now = operation.cancelled && (operation.announced || !Chance(options_.late_percent));
  if (cancel_now) {
    Finish(index, -ECANCELED);
    return true;
  }
  if (operation.announced) return false;
  if (Trouble(index)) return true;
  switch (operation.data.op) {
    case Op::kReceive:
      return ProgressReceive(index);
    case Op::kAccept:
      return ProgressAccept(index);
    case Op::kConnect:
      ProgressConnect(index);
      return true;
    case Op::kSend:
      return ProgressSend(index);
    case Op::kWatch: {
      End& end = At(operation.fd);
      if (end.event_count == end.events_seen) return false;
      end.events_seen = end.event_count;
      Post(index, {.data = {}, .more = !Chance(options_.lost_more_percent)});
      return true;
    }
    case Op::kNone:
      break;
  }
  Fail("an operation of no kind");
}

// One round over all operations, in any order; each moves at most once.
void FakeDriver::Step() {
  std::vector<UserData> order;
  for (const Operation& operation : operations_) {
    if (operation.submitted) order.push_back(operation.data);
  }
  std::shuffle(order.begin(), order.end(), random_);
  for (const UserData& data : order) {
    if (Chance(options_.late_percent)) continue;
    const auto found = std::find_if(operations_.begin(), operations_.end(),
                                    [&data](const Operation& operation) { return operation.data == data; });
    if (found != operations_.end()) Progress(static_cast<size_t>(found - operations_.begin()));
  }
}

void FakeDriver::Submit() {
  for (Operation& operation : operations_) {
    operation.submitted = true;
    // The kernel copies an address when it takes the submission, not before.
    if (operation.given_address == nullptr) continue;
    std::memcpy(&operation.address, operation.given_address, sizeof(operation.address));
    operation.given_address = nullptr;
  }
}

void FakeDriver::Wait() {
  Submit();
  for (int step = 0; posted_.empty(); ++step) {
    if (step == kMaxSteps) Fail("waits for what can never come");
    Step();
  }
}

size_t FakeDriver::Reap(std::span<Completion> completions) {
  Step();
  size_t count = 0;
  while (count < completions.size() && !posted_.empty()) {
    Completion& completion = completions[count++];
    completion = posted_.front().completion;
    posted_.pop_front();
    if (completion.has_data && completion.buffer != kNoBuffer) handed_out_.push_back(completion.buffer);
    if (!completion.more) --in_flight_;
  }
  return count;
}

std::span<const uint8_t> FakeDriver::Take(Completion& completion) {
  const std::span<uint8_t> room = std::exchange(room_, {});
  if (!completion.has_data) Fail("bytes were taken twice, or where there are none");
  completion.has_data = false;
  // The last bytes taken are no longer valid.
  if (taken_ != kNoBuffer && !holds_.contains(taken_)) Poison(taken_);
  taken_ = completion.buffer;
  if (completion.buffer != kNoBuffer) {
    const std::span<const uint8_t> bytes(DataOf(completion.buffer), filled_[completion.buffer]);
    if (room.size() < bytes.size()) return bytes;
    std::copy(bytes.begin(), bytes.end(), room.begin());
    return room.first(bytes.size());
  }

  completion.result = -EAGAIN;
  const auto found = std::find_if(operations_.begin(), operations_.end(), [&completion](const Operation& operation) {
    return operation.data == completion.data && operation.announced;
  });
  if (found == operations_.end() || found->cancelled) return {};
  found->announced = false;
  // As with epoll, the end is found only now, and comes as a completion of its own.
  const End& end = At(found->fd);
  if (end.reset || (end.inbox.empty() && end.finished)) {
    Finish(static_cast<size_t>(found - operations_.begin()), end.reset ? -ECONNRESET : 0);
  }
  return {};
}

std::span<const uint8_t> FakeDriver::ReceiveAtOnce(int fd, bool in_blocks, Completion& completion) {
  for (const Operation& operation : operations_) {
    if (operation.fd == fd && operation.data.op == Op::kReceive) Fail("a receive at once beside one that is armed");
  }
  End& end = At(fd);
  completion.buffer = kNoBuffer;
  taken_ = kNoBuffer;
  if (Block* last = std::exchange(at_once_, Block::Make(kBlockBytes))) {
    std::fill_n(last->data(), kBlockBytes, kPoison);
    last->Unref();
  }
  completion.result = end.reset ? -ECONNRESET : end.inbox.empty() ? (end.finished ? 0 : -EAGAIN) : 1;
  if (completion.result < 1) return {};
  const size_t room = in_blocks ? kBlockBytes : options_.driver.receive_buffer_bytes;
  const size_t count = Some(std::min(end.inbox.size(), room));
  std::copy_n(end.inbox.begin(), count, at_once_->data());
  end.inbox.erase(end.inbox.begin(), end.inbox.begin() + static_cast<ptrdiff_t>(count));
  completion.result = static_cast<int32_t>(count);
  return {at_once_->data(), count};
}

uint32_t FakeDriver::BufferOf(const uint8_t* bytes) const {
  return static_cast<uint32_t>(bytes - buffers_[0].data()) / options_.driver.receive_buffer_bytes;
}

bool FakeDriver::Hold(const uint8_t* bytes) {
  if (!own_memory_.empty()) return false;
  const uint32_t buffer = BufferOf(bytes);
  if (buffer != taken_) Fail("bytes were held that were not the last ones taken");
  if (!holds_.contains(buffer) && holds_.size() >= (buffers_.size() + 1) / 2) return false;
  ++holds_[buffer];
  return true;
}

void FakeDriver::Release(const uint8_t* bytes) {
  const auto found = holds_.find(BufferOf(bytes));
  if (found == holds_.end()) Fail("bytes were released that nobody held");
  if (--found->second > 0) return;
  const uint32_t buffer = found->first;
  holds_.erase(found);
  GiveBack(buffer);
}

Block* FakeDriver::Detach(const Completion& completion) {
  if (completion.buffer == kNoBuffer) return std::exchange(at_once_, nullptr);
  if (completion.has_data || completion.buffer != taken_)
    Fail("a block was detached whose bytes were not the last ones taken");
  return IsBlock(completion.buffer) ? std::exchange(blocks_[completion.buffer - buffers_.size()], nullptr) : nullptr;
}

void FakeDriver::EndDispatch() {
  for (const uint32_t buffer : handed_out_) {
    if (!holds_.contains(buffer)) GiveBack(buffer);
  }
  handed_out_.clear();
  taken_ = kNoBuffer;
}

}  // namespace ringway::test
