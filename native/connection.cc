#include "connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>

#include "base/tables.gen.h"

namespace ringway {

namespace {

// Unframed input that a blocked connection may hold before it is no longer read.
constexpr size_t kHoldBytes = 256 * 1024;
// One send describes at most so much: with MSG_WAITALL its completion is the only sign of progress, and a slow peer
// must show one within writeStallTimeoutMs (at 30 s: 17 KB/s, the rate that is asked of incomplete frames too).
constexpr int kSendParts = 8;
constexpr size_t kSendBytes = 512 * 1024;
// Queued bytes are counted against the engine's limit in steps, so that a small answer costs no shared atomic.
constexpr size_t kAccountStep = 16 * 1024;

uint32_t AddressOf(const sockaddr_storage& peer, OpenEvent* event) {
  event->port = 0;
  event->address_length = 0;
  if (peer.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(peer);
    ::inet_ntop(AF_INET, &v4.sin_addr, event->address, sizeof event->address);
    event->port = ntohs(v4.sin_port);
  } else if (peer.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(peer);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, event->address, sizeof event->address);
    event->port = ntohs(v6.sin6_port);
  } else {
    return 0;
  }
  return static_cast<uint32_t>(std::strlen(event->address));
}

int LimitBytes(iovec* parts, int count, size_t limit) {
  for (int i = 0; i < count; ++i) {
    if (parts[i].iov_len >= limit) {
      parts[i].iov_len = limit;
      return i + 1;
    }
    limit -= parts[i].iov_len;
  }
  return count;
}

bool IsReset(int error) { return error == ECONNRESET || error == EPIPE || error == ECONNABORTED; }

}  // namespace

Connection::Connection(Reactor& reactor, Fd fd, std::shared_ptr<const ConnectionOptions> options,
                       Admission::Ticket ticket, uint32_t token)
    : reactor_(reactor),
      fd_(std::move(fd)),
      token_(token),
      ticket_(ticket),
      options_(std::move(options)),
      framer_(MakeFramer(options_->framing)),
      in_(reactor.pool()),
      out_(reactor.pool()) {
  reactor_.Register(*this);
  last_active_ms_ = reactor_.now_ms();
}

Connection::~Connection() {
  CHECK(!HasOperations());
  reactor_.connections().fetch_sub(1, std::memory_order_relaxed);
  if (options_->admission) options_->admission->Leave(ticket_);
}

// --- opening

void Connection::Adopt(Reactor& reactor, Fd fd, std::shared_ptr<const ConnectionOptions> options,
                       Admission::Ticket ticket) {
  if (!reactor.MayAdopt()) {
    reactor.counters().Add(Counter::kRefusedMaxConnections);
    reactor.connections().fetch_sub(1, std::memory_order_relaxed);
    if (options->admission) options->admission->Leave(ticket);
    return;
  }
  auto* connection = new Connection(reactor, std::move(fd), std::move(options), ticket, 0);
  reactor.counters().Add(Counter::kAccepted);
  connection->Open();
}

void Connection::Connect(Reactor& reactor, const sockaddr_storage& address, socklen_t length,
                         std::shared_ptr<const ConnectionOptions> options, uint32_t token) {
  if (!reactor.HasFreeSlot()) {
    reactor.counters().Add(Counter::kConnectErrors);
    reactor.connections().fetch_sub(1, std::memory_order_relaxed);
    CloseEvent event = {};
    event.reason = static_cast<uint32_t>(CloseReason::kConnectFailed);
    event.error = ENOBUFS;
    event.token = token;
    reactor.events().Push(EventKind::kClose, 0, {reinterpret_cast<const uint8_t*>(&event), sizeof event});
    return;
  }
  Fd fd(::socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int error = fd.Valid() ? 0 : errno;
  auto* connection = new Connection(reactor, std::move(fd), std::move(options), {}, token);
  if (error != 0) {
    reactor.counters().Add(Counter::kConnectErrors);
    connection->Fail(CloseReason::kConnectFailed, error);
    return;
  }
  if (address.ss_family != AF_UNIX) {
    const int on = 1;
    const int fd_number = connection->fd_.Get();
    if (connection->options_->no_delay) ::setsockopt(fd_number, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (const auto idle = static_cast<int>(connection->options_->keep_alive_ms / 1000); idle > 0) {
      ::setsockopt(fd_number, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
      ::setsockopt(fd_number, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    }
  }
  connection->connect_pending_ = true;
  connection->connect_address_ = std::make_unique<sockaddr_storage>(address);
  reactor.driver().Connect(connection->Data(Op::kConnect), connection->fd_.Get(),
                           reinterpret_cast<const sockaddr*>(connection->connect_address_.get()), length);
  const uint64_t timeout = connection->options_->connect_timeout_ms;
  connection->close_deadline_ms_ = timeout == 0 ? TimingWheel::kNever : reactor.now_ms() + timeout;
  reactor.ArmTimer(*connection, connection->close_deadline_ms_);
}

void Connection::OnConnected(int result) {
  connect_pending_ = false;
  connect_address_.reset();
  if (state_ == State::kEnding) return FinishIfOver();
  if (result < 0) {
    reactor_.counters().Add(Counter::kConnectErrors);
    return Fail(CloseReason::kConnectFailed, -result);
  }
  reactor_.counters().Add(Counter::kConnects);
  Open();
}

void Connection::Open() {
  state_ = State::kOpen;
  opened_ = true;
  close_deadline_ms_ = TimingWheel::kNever;
  last_active_ms_ = reactor_.now_ms();
  reactor_.ReportProgress(slot(), 0);
  PushOpenEvent();
  UpdateReceive();
  reactor_.ArmTimer(*this, NextDeadline(reactor_.now_ms()));
}

void Connection::PushOpenEvent() {
  OpenEvent event;
  sockaddr_storage peer;
  socklen_t length = sizeof peer;
  peer.ss_family = AF_UNSPEC;
  ::getpeername(fd_.Get(), reinterpret_cast<sockaddr*>(&peer), &length);
  event.generation = generation();
  event.listener = options_->listener;
  event.token = token_;
  event.address_length = AddressOf(peer, &event);
  const size_t size = offsetof(OpenEvent, address) + event.address_length;
  reactor_.events().Push(EventKind::kOpen, slot(), {reinterpret_cast<const uint8_t*>(&event), size});
}

// --- completions

void Connection::OnCompletion(Completion& completion) {
  switch (completion.data.op) {
    case Op::kReceive:
      return OnReceived(completion);
    case Op::kSend:
      send_pending_ = false;
      if (state_ == State::kEnding) {
        if (completion.result > 0) bytes_sent_ += static_cast<uint64_t>(completion.result);
        return FinishIfOver();
      }
      if (OnSent(completion.result)) StartSend();
      return;
    case Op::kConnect:
      return OnConnected(completion.result);
    default:
      CHECK(false);
  }
}

void Connection::OnReceived(Completion& completion) {
  if (!completion.more) receive_armed_ = receive_stopping_ = false;
  if (completion.has_data) {
    const std::span<const uint8_t> bytes = reactor_.driver().Take(completion);
    if (!bytes.empty()) OnBytes(bytes);
  } else if (completion.result == 0) {
    OnPeerFin();
  } else if (completion.result == -ENOBUFS) {
    reactor_.counters().Add(Counter::kReceiveBuffersStarved);
  } else if (completion.result < 0 && completion.result != -ECANCELED && state_ != State::kEnding) {
    Fail(IsReset(-completion.result) ? CloseReason::kPeerReset : CloseReason::kIoError, -completion.result);
  }
  if (state_ == State::kEnding) return FinishIfOver();
  // Armed again in Flush, when the receive buffers of this turn are back with the driver.
  if (!receive_armed_ && ReceiveWanted()) reactor_.MarkDirty(*this);
}

void Connection::OnBytes(std::span<const uint8_t> bytes) {
  last_active_ms_ = reactor_.now_ms();
  reactor_.counters().Add(Counter::kBytesReceived, bytes.size());
  if (state_ != State::kOpen || faulted_) {
    reactor_.counters().Add(Counter::kDroppedBytesAfterClose, bytes.size());
    if (state_ != State::kLingering) return;
    lingered_bytes_ += static_cast<uint32_t>(bytes.size());
    if (lingered_bytes_ > limits::linger_bytes) End();
    return;
  }
  if (paused_ || blocked_) {
    if (!Keep(bytes, 0)) return;
    AccountPartial();
    UpdateReceive();
    return;
  }
  Feed(bytes);
}

void Connection::OnPeerFin() {
  if (peer_fin_) return;
  peer_fin_ = true;
  if (state_ == State::kOpen && !paused_ && !blocked_ && !faulted_) FinishInput();
  if (state_ == State::kLingering) End();
}

// --- input: bytes to frames

// Credit makes connections take turns; room is JavaScript's pace.
bool Connection::MayDeliver() {
  if (credit_turn_ != reactor_.turn()) {
    credit_turn_ = reactor_.turn();
    credit_frames_ = 0;
    credit_bytes_ = 0;
  }
  if (credit_frames_ < options_->credit_frames && credit_bytes_ < options_->credit_bytes &&
      reactor_.events().HasRoomForFrame(limits::inline_frame_bytes)) [[likely]] {
    return true;
  }
  blocked_ = true;
  partial_since_ms_ = 0;
  reactor_.counters().Add(Counter::kReceivePauses);
  reactor_.MarkReady(*this);
  return false;
}

void Connection::Resume() {
  if (state_ != State::kOpen || paused_ || faulted_) return;
  blocked_ = false;
  Feed({});
  if (state_ == State::kOpen && !blocked_ && peer_fin_ && !end_told_) FinishInput();
}

void Connection::Feed(std::span<const uint8_t> bytes) {
  while (state_ == State::kOpen && !blocked_ && !faulted_) {
    if (in_.empty()) {
      bytes = FeedInPlace(bytes);
      if (!bytes.empty() && !Keep(bytes, partial_frame_bytes_)) return;
      bytes = {};
      break;
    }
    // Where the frame's size is known only its rest is copied, so that what stands behind it is framed in place.
    const bool exact = partial_frame_bytes_ > 0 && partial_needed_ > in_.size();
    const size_t take = exact ? std::min(bytes.size(), partial_needed_ - in_.size()) : bytes.size();
    if (take > 0) {
      if (!Keep(bytes.first(take), partial_frame_bytes_)) return;
      bytes = bytes.subspan(take);
    }
    if (!FeedPartial() && bytes.empty()) break;
  }
  if (state_ != State::kOpen || faulted_) return;
  if (blocked_ && !bytes.empty() && !Keep(bytes, 0)) return;
  if (in_.empty() || blocked_) {
    partial_since_ms_ = 0;
  } else if (partial_since_ms_ == 0) {
    partial_since_ms_ = reactor_.now_ms();
  }
  AccountPartial();
  UpdateReceive();
}

// Frames out of the driver's buffer. Answers what is left: an incomplete frame, or what waits for credit.
std::span<const uint8_t> Connection::FeedInPlace(std::span<const uint8_t> bytes) {
  while (!bytes.empty() && MayDeliver()) {
    const FrameResult result = framer_->Next(bytes);
    const bool delivered = Accept(result, bytes.data());
    if (state_ != State::kOpen || faulted_) return {};
    if (!delivered) break;
    bytes = bytes.subspan(result.consumed);
  }
  return bytes;
}

// One frame out of in_. False when it holds no whole frame, or may not deliver one now.
bool Connection::FeedPartial() {
  if (in_.size() < partial_needed_ || !MayDeliver()) return false;
  const std::span<const uint8_t> bytes = in_.bytes();
  const FrameResult result = framer_->Next(bytes);
  if (result.status == FrameStatus::kFrame && result.length > limits::inline_frame_bytes) {
    size_t base = 0;
    if (Block* block = in_.DetachAsBlock(result.consumed, &base)) {
      partial_needed_ = 1;
      partial_frame_bytes_ = 0;
      partial_since_ms_ = 0;
      PushLarge(block, base + result.offset, result.length);
      return true;
    }
  }
  if (!Accept(result, bytes.data()) || state_ != State::kOpen) return false;
  in_.Consume(result.consumed);
  partial_since_ms_ = 0;
  return true;
}

// Delivers a frame, or remembers what is missing, or closes for what is wrong. True when a frame was delivered.
bool Connection::Accept(const FrameResult& result, const uint8_t* bytes) {
  switch (result.status) {
    case FrameStatus::kFrame:
      DCHECK(result.offset + result.length <= result.consumed);
      partial_needed_ = 1;
      partial_frame_bytes_ = 0;
      if (result.length <= limits::inline_frame_bytes) {
        DeliverInline(bytes + result.offset, result.length);
      } else {
        DeliverLarge(bytes + result.offset, result.length);
      }
      return true;
    case FrameStatus::kNeedMore:
      partial_needed_ = result.needed;
      partial_frame_bytes_ = result.frame_bytes;
      return false;
    case FrameStatus::kTooLong:
      declared_ = static_cast<uint64_t>(result.declared);
      reactor_.counters().Add(Counter::kFramesTooLong);
      Fault(CloseReason::kFrameTooLong);
      return false;
    case FrameStatus::kMalformed:
      declared_ = static_cast<uint64_t>(result.declared);
      reactor_.counters().Add(Counter::kBadFrames);
      Fault(CloseReason::kBadFrame);
      return false;
  }
  return false;
}

void Connection::DeliverInline(const uint8_t* payload, size_t length) {
  reactor_.events().PushFrame(slot(), payload, length);
  reactor_.counters().Add(Counter::kFramesReceived);
  ++credit_frames_;
  credit_bytes_ += static_cast<uint32_t>(length);
}

void Connection::DeliverLarge(const uint8_t* payload, size_t length) {
  Block* block = Block::Make(length);
  if (block == nullptr) return Fail(CloseReason::kMemoryFull);
  std::memcpy(block->data(), payload, length);
  PushLarge(block, 0, length);
}

void Connection::PushLarge(Block* block, size_t offset, size_t length) {
  const auto address = reinterpret_cast<uint64_t>(block);
  const LargeFrameEvent event{Low(address), High(address), static_cast<uint32_t>(offset),
                              static_cast<uint32_t>(length)};
  reactor_.events().PushLargeFrame(slot(), event);
  reactor_.counters().Add(Counter::kFramesReceived);
  ++credit_frames_;
  credit_bytes_ += options_->credit_bytes;
}

bool Connection::Keep(std::span<const uint8_t> bytes, size_t limit_hint) {
  if (in_.Append(bytes, limit_hint)) return true;
  reactor_.counters().Add(Counter::kMemoryFull);
  Fail(CloseReason::kMemoryFull, ENOMEM);
  return false;
}

void Connection::FinishInput() {
  if (!in_.empty() && !MayDeliver()) return;  // Resume comes here again
  end_told_ = true;
  if (!in_.empty()) {
    const std::span<const uint8_t> bytes = in_.bytes();
    const FrameResult result = framer_->Finish(bytes);
    if (result.status != FrameStatus::kFrame) {
      in_.Clear();
      AccountPartial();
      return Fault(CloseReason::kTruncatedFrame);
    }
    Accept(result, bytes.data());
    in_.Clear();
    AccountPartial();
  }
  partial_since_ms_ = 0;
  if (state_ != State::kOpen) return;
  reactor_.events().Push(EventKind::kEnd, slot());
  if (fin_sent_) Fail(CloseReason::kClosed);
}

// What incomplete frames hold counts against the engine.
void Connection::AccountPartial() {
  const size_t held = in_.bytes_held();
  if (held == partial_accounted_) [[likely]] {
    return;
  }
  const auto delta = static_cast<int64_t>(held) - static_cast<int64_t>(partial_accounted_);
  partial_accounted_ = held;
  const int64_t total = options_->accounts->partial_bytes.fetch_add(delta, std::memory_order_relaxed) + delta;
  if (delta > 0 && total > static_cast<int64_t>(options_->accounts->max_partial_bytes) && state_ == State::kOpen) {
    reactor_.counters().Add(Counter::kMemoryFull);
    Fault(CloseReason::kMemoryFull);
  }
}

// The answers to the frames before the fault are still on their way through JavaScript, so it closes, not we. Until
// then what the peer sends is discarded.
void Connection::Fault(CloseReason reason) {
  if (faulted_) return;
  faulted_ = true;
  in_.Clear();
  AccountPartial();
  partial_since_ms_ = 0;
  const FaultEvent event{static_cast<uint32_t>(reason)};
  reactor_.events().Push(EventKind::kFault, slot(), {reinterpret_cast<const uint8_t*>(&event), sizeof event});
}

bool Connection::ReceiveWanted() const {
  if (peer_fin_) return false;
  switch (state_) {
    case State::kOpen:
      return !paused_ && !(blocked_ && in_.size() >= kHoldBytes);
    case State::kFlushing:
    case State::kLingering:
      return true;
    default:
      return false;
  }
}

void Connection::UpdateReceive() {
  const bool wanted = ReceiveWanted();
  if (wanted && !receive_armed_) {
    receive_armed_ = true;
    reactor_.driver().Receive(Data(Op::kReceive), fd_.Get());
  } else if (!wanted && receive_armed_ && !receive_stopping_) {
    receive_stopping_ = true;
    reactor_.driver().StopReceive(Data(Op::kReceive), fd_.Get());
  }
}

// --- commands and output

void Connection::OnCommand(CommandKind kind, const uint32_t* words) {
  switch (kind) {
    case CommandKind::kSend: {
      const auto* send = reinterpret_cast<const SendCommand*>(words);
      if (state_ != State::kOpen || fin_wanted_) return reactor_.counters().Add(Counter::kStaleCommands);
      Queue(words + sizeof(SendCommand) / 4, send->inline_length);
      if (send->length > 0) out_.Append({reactor_.BytesOf(send->reactor, send->position), send->length});
      return AfterQueued();
    }
    case CommandKind::kSendBlock: {
      const auto* send = reinterpret_cast<const SendBlockCommand*>(words);
      auto* block = reinterpret_cast<Block*>(Join(send->block_low, send->block_high));
      const bool open = state_ == State::kOpen && !fin_wanted_;
      if (open) {
        Queue(words + sizeof(SendBlockCommand) / 4, send->inline_length);
        CHECK(send->offset <= block->size() && send->length <= block->size() - send->offset);
        out_.AppendBlock(block, send->offset, send->length);
      }
      block->Unref();
      if (!open) return reactor_.counters().Add(Counter::kStaleCommands);
      return AfterQueued();
    }
    case CommandKind::kClose:
      if (state_ == State::kOpen && static_cast<CloseReason>(words[3]) == CloseReason::kIdleTimeout) {
        reactor_.counters().Add(Counter::kIdleTimeouts);
      }
      return Close(static_cast<CloseReason>(reinterpret_cast<const CloseCommand*>(words)->reason));
    case CommandKind::kAbort:
      return Abort(static_cast<CloseReason>(reinterpret_cast<const CloseCommand*>(words)->reason));
    case CommandKind::kShutdown:
      if (state_ != State::kOpen || fin_wanted_) return;
      fin_wanted_ = true;
      return reactor_.MarkDirty(*this);
    case CommandKind::kPause:
      if (state_ != State::kOpen) return;
      paused_ = true;
      partial_since_ms_ = 0;
      return UpdateReceive();
    case CommandKind::kResume:
      if (state_ != State::kOpen || !paused_) return;
      paused_ = false;
      blocked_ = true;  // what is held goes through Resume, in this turn
      last_active_ms_ = reactor_.now_ms();
      return reactor_.MarkReady(*this);
    case CommandKind::kWantDrain:
      want_drain_ = true;
      return ReportDrain();
    case CommandKind::kWrap:
      break;
  }
  CHECK(false);
}

void Connection::Queue(const uint32_t* inline_words, uint32_t inline_length) {
  if (inline_length > 0) out_.Append({reinterpret_cast<const uint8_t*>(inline_words), inline_length});
}

void Connection::AfterQueued() {
  if (out_.size() > options_->max_buffered_bytes) [[unlikely]] {
    reactor_.counters().Add(Counter::kSendBufferFull);
    return Abort(CloseReason::kSendBufferFull);
  }
  if (out_.size() >= buffered_accounted_ + kAccountStep && !AccountBuffered()) return;
  reactor_.MarkDirty(*this);
}

void Connection::Flush() {
  if (state_ == State::kEnding || state_ == State::kConnecting) return;
  if (!receive_armed_) UpdateReceive();
  if (send_pending_) {
    AccountBuffered();
  } else {
    StartSend();
  }
}

// At most one send is in flight: two would interleave their bytes.
void Connection::StartSend() {
  while (!out_.empty()) {
    iovec parts[kSendParts];
    const int count = LimitBytes(parts, out_.Gather(parts, kSendParts), kSendBytes);
    reactor_.counters().Add(Counter::kSends);
    if (write_since_ms_ == 0) write_since_ms_ = reactor_.now_ms();
    const int32_t result = reactor_.driver().Send(Data(Op::kSend), fd_.Get(), parts, count);
    if (result == kSendPending) {
      send_pending_ = true;
      break;
    }
    if (!OnSent(result)) return;
  }
  if (!AccountBuffered()) return;
  if (out_.empty() && !send_pending_) AfterSendQueueEmpty();
}

// What waits to be sent counts against the engine, in whole steps. False when the connection ends for it.
bool Connection::AccountBuffered() {
  const size_t accounted = out_.size() / kAccountStep * kAccountStep;
  if (accounted == buffered_accounted_) [[likely]] {
    return true;
  }
  const auto delta = static_cast<int64_t>(accounted) - static_cast<int64_t>(buffered_accounted_);
  buffered_accounted_ = accounted;
  const int64_t total = options_->accounts->buffered_bytes.fetch_add(delta, std::memory_order_relaxed) + delta;
  if (delta < 0 || total <= static_cast<int64_t>(options_->accounts->max_buffered_bytes)) return true;
  reactor_.counters().Add(Counter::kMemoryFull);
  Abort(CloseReason::kMemoryFull);
  return false;
}

// False when the connection ends with it.
bool Connection::OnSent(int32_t result) {
  if (result < 0) {
    Fail(IsReset(-result) ? CloseReason::kPeerReset : CloseReason::kIoError, -result);
    return false;
  }
  bytes_sent_ += static_cast<uint64_t>(result);
  out_.Consume(static_cast<size_t>(result));
  last_active_ms_ = reactor_.now_ms();
  write_since_ms_ = out_.empty() ? 0 : last_active_ms_;
  reactor_.counters().Add(Counter::kBytesSent, static_cast<uint64_t>(result));
  reactor_.ReportProgress(slot(), bytes_sent_);
  if (want_drain_) [[unlikely]] {
    ReportDrain();
  }
  return true;
}

void Connection::ReportDrain() {
  if (!want_drain_ || state_ != State::kOpen || out_.size() > options_->low_water_mark) return;
  want_drain_ = false;
  reactor_.events().Push(EventKind::kDrain, slot());
}

void Connection::AfterSendQueueEmpty() {
  if ((fin_wanted_ || state_ == State::kFlushing) && !fin_sent_) {
    fin_sent_ = true;
    ::shutdown(fd_.Get(), SHUT_WR);
    // Both directions are over.
    if (state_ == State::kOpen && end_told_) return Fail(CloseReason::kPeerClosed);
  }
  if (state_ != State::kFlushing) return;
  if (peer_fin_) return End();
  state_ = State::kLingering;
  close_deadline_ms_ = reactor_.now_ms() + limits::linger_timeout_ms;
  reactor_.ArmTimer(*this, close_deadline_ms_);
}

void Connection::ClearSendQueue() {
  out_.Clear();
  if (buffered_accounted_ == 0) return;
  options_->accounts->buffered_bytes.fetch_sub(static_cast<int64_t>(buffered_accounted_), std::memory_order_relaxed);
  buffered_accounted_ = 0;
}

// --- closing

// Sends what is queued, then FIN, reads on for a moment.
void Connection::Close(CloseReason reason) {
  if (state_ == State::kConnecting) return Fail(reason);
  if (state_ != State::kOpen) return;
  state_ = State::kFlushing;
  reason_ = reason;
  in_.Clear();
  AccountPartial();
  paused_ = blocked_ = false;
  partial_since_ms_ = 0;
  // A peer that takes nothing is cut by writeStallTimeoutMs, one that takes a byte now and then here: what is queued has the
  // same time as a frame of its length would have to come in.
  const uint64_t stall = options_->write_stall_timeout_ms;
  close_deadline_ms_ = reactor_.now_ms() + (stall > 0 ? stall : limits::write_stall_timeout_ms) +
                       out_.size() * 1000 / limits::partial_frame_min_rate;
  reactor_.ArmTimer(*this, NextDeadline(reactor_.now_ms()));
  reactor_.MarkDirty(*this);
}

// Nothing can be sent any more, or must not.
void Connection::Fail(CloseReason reason, int error) {
  if (state_ == State::kEnding) return;
  if (state_ == State::kConnecting || state_ == State::kOpen) {
    reason_ = reason;
    error_ = error;
  }
  End();
}

void Connection::Abort(CloseReason reason) {
  if (state_ == State::kEnding) return;
  const linger reset{.l_onoff = 1, .l_linger = 0};
  if (fd_.Valid()) ::setsockopt(fd_.Get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  Fail(reason);
}

void Connection::Shut(bool graceful) {
  if (!graceful || state_ == State::kConnecting) return Fail(CloseReason::kEngineClosed);
  Close(CloseReason::kEngineClosed);
  if (state_ == State::kFlushing) {
    close_deadline_ms_ = std::min(close_deadline_ms_, reactor_.now_ms() + limits::linger_timeout_ms);
    reactor_.ArmTimer(*this, close_deadline_ms_);
  }
}

void Connection::End() {
  state_ = State::kEnding;
  reactor_.wheel().Cancel(*this);
  in_.Clear();
  AccountPartial();
  if (HasOperations()) reactor_.driver().Cancel(Data(Op::kNone), fd_.Get());
  FinishIfOver();
}

void Connection::FinishIfOver() {
  if (HasOperations() || finished_) return;
  finished_ = true;
  ClearSendQueue();
  if (fd_.Valid()) reactor_.driver().Forget(fd_.Get());
  fd_.Reset();
  reactor_.counters().Add(Counter::kClosed);
  PushCloseEvent();
  reactor_.Unregister(*this);
  reactor_.FreeLater(*this);
}

void Connection::PushCloseEvent() {
  const CloseEvent event{
      .reason = static_cast<uint32_t>(reason_),
      .error = error_,
      .sent_low = Low(bytes_sent_),
      .sent_high = High(bytes_sent_),
      .declared_low = Low(declared_),
      .declared_high = High(declared_),
      .limit_low = Low(options_->framing.max_frame_length),
      .limit_high = High(options_->framing.max_frame_length),
      .token = token_,
      .opened = opened_,
  };
  reactor_.events().Push(EventKind::kClose, slot(), {reinterpret_cast<const uint8_t*>(&event), sizeof event});
}

// --- time

uint64_t Connection::PartialDeadline() const {
  return partial_since_ms_ + options_->partial_frame_timeout_ms +
         partial_frame_bytes_ * 1000 / limits::partial_frame_min_rate;
}

// Traffic only stamps times; the timer looks here when it comes, at least once per shortest timeout, so that a message
// costs no timer operation (HAProxy's wake_expired_tasks and Netty's IdleStateHandler do the same).
uint64_t Connection::NextDeadline(uint64_t now_ms) {
  uint64_t next = close_deadline_ms_;
  const auto consider = [&](uint64_t timeout, uint64_t since, uint64_t extra) {
    if (timeout > 0) next = std::min(next, (since == 0 ? now_ms : since + extra) + timeout);
  };
  if (state_ == State::kOpen) {
    consider(options_->idle_timeout_ms, last_active_ms_, 0);
    consider(options_->partial_frame_timeout_ms, partial_since_ms_,
             partial_frame_bytes_ * 1000 / limits::partial_frame_min_rate);
  }
  if (state_ == State::kOpen || state_ == State::kFlushing)
    consider(options_->write_stall_timeout_ms, write_since_ms_, 0);
  return next;
}

// This thread did not come round for so long (in Node's loop: JavaScript was busy): we did not read, nor see what was taken.
void Connection::ForgiveLateness() {
  const uint64_t late = reactor_.late_ms();
  if (late == 0) return;
  last_active_ms_ += late;
  if (partial_since_ms_ > 0) partial_since_ms_ += late;
  if (write_since_ms_ > 0) write_since_ms_ += late;
}

void Connection::OnTimer(uint64_t now_ms) {
  if (state_ == State::kConnecting) {
    reactor_.counters().Add(Counter::kConnectErrors);
    return Fail(CloseReason::kConnectTimeout, ETIMEDOUT);
  }
  if (now_ms >= close_deadline_ms_) return state_ == State::kLingering ? End() : Abort(CloseReason::kWriteStalled);
  ForgiveLateness();
  const uint64_t stall = options_->write_stall_timeout_ms;
  if (stall > 0 && write_since_ms_ > 0 && now_ms >= write_since_ms_ + stall) {
    reactor_.counters().Add(Counter::kWriteStalls);
    return Abort(CloseReason::kWriteStalled);
  }
  if (state_ == State::kOpen) {
    if (options_->partial_frame_timeout_ms > 0 && partial_since_ms_ > 0 && now_ms >= PartialDeadline()) {
      reactor_.counters().Add(Counter::kPartialFrameTimeouts);
      Fault(CloseReason::kPartialFrameTimeout);
    } else if (paused_ || blocked_) {
      last_active_ms_ = now_ms;  // we did not read: nothing is held against the peer
    } else if (options_->idle_timeout_ms > 0 && now_ms >= last_active_ms_ + options_->idle_timeout_ms) {
      // JavaScript answers with a close, or keeps it for another such time.
      last_active_ms_ = now_ms;
      reactor_.events().Push(EventKind::kIdle, slot());
    }
  }
  reactor_.ArmTimer(*this, NextDeadline(now_ms));
}

}  // namespace ringway
