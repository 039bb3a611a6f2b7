#include "connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/tables.gen.h"

namespace ringway {

bool Connection::IsReset(int error) { return error == ECONNRESET || error == EPIPE || error == ECONNABORTED; }

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
  raw_ = options_->framing.format == FramingFormat::kRaw;
  frame_limit_ = options_->framing.max_frame_length;
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

void Connection::TakeOver(Reactor& reactor, Fd fd, std::shared_ptr<const ConnectionOptions> options, uint32_t token) {
  if (!reactor.HasFreeSlot()) return RefuseOutgoing(reactor, token);
  auto* connection = new Connection(reactor, std::move(fd), std::move(options), {}, token);
  if (connection->options_->no_delay) SetNoDelay(connection->fd_.Get(), true);
  if (const auto idle = static_cast<int>(connection->options_->keep_alive_ms / 1000); idle > 0) {
    SetKeepAlive(connection->fd_.Get(), true, idle);
  }
  reactor.counters().Add(Counter::kAdopted);
  connection->Open();
}

void Connection::RefuseOutgoing(Reactor& reactor, uint32_t token) {
  reactor.counters().Add(Counter::kConnectErrors);
  reactor.connections().fetch_sub(1, std::memory_order_relaxed);
  CloseEvent event = {};
  event.reason = static_cast<uint32_t>(CloseReason::kConnectFailed);
  event.error = ENOBUFS;
  event.call = static_cast<uint32_t>(SystemCall::kConnect);
  event.token = token;
  reactor.events().Push(EventKind::kClose, 0, {reinterpret_cast<const uint8_t*>(&event), sizeof event});
}

void Connection::Connect(Reactor& reactor, const sockaddr_storage& address, socklen_t length,
                         std::shared_ptr<const ConnectionOptions> options, uint32_t token) {
  if (!reactor.HasFreeSlot()) return RefuseOutgoing(reactor, token);
  Fd fd(::socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int error = fd.Valid() ? 0 : errno;
  auto* connection = new Connection(reactor, std::move(fd), std::move(options), {}, token);
  const int bind_error = error == 0 ? connection->Prepare(address.ss_family) : 0;
  if (error != 0 || bind_error != 0) {
    reactor.counters().Add(Counter::kConnectErrors);
    if (error != 0) return connection->Fail(CloseReason::kConnectFailed, error, SystemCall::kConnect);
    return connection->Fail(CloseReason::kConnectFailed, bind_error, SystemCall::kBind);
  }
  connection->connect_pending_ = true;
  connection->connect_address_ = std::make_unique<sockaddr_storage>(address);
  reactor.driver().Connect(connection->Data(Op::kConnect), connection->fd_.Get(),
                           reinterpret_cast<const sockaddr*>(connection->connect_address_.get()), length);
  const uint64_t timeout = connection->options_->connect_timeout_ms;
  connection->close_deadline_ms_ = timeout == 0 ? TimingWheel::kNever : reactor.now_ms() + timeout;
  reactor.ArmTimer(*connection, connection->close_deadline_ms_);
}

// The options of an outgoing socket, and its own address where one is asked for. 0 or an errno.
int Connection::Prepare(int family) {
  const int fd = fd_.Get();
  if (family != AF_UNIX) {
    if (options_->no_delay) SetNoDelay(fd, true);
    if (const auto idle = static_cast<int>(options_->keep_alive_ms / 1000); idle > 0) SetKeepAlive(fd, true, idle);
  }
  const SocketAddress& local = options_->local;
  if (local.length == 0) return 0;
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  return ::bind(fd, reinterpret_cast<const sockaddr*>(&local.storage), local.length) == 0 ? 0 : errno;
}

void Connection::OnAbandoned(uint32_t token) {
  if (token_ != token || state_ != State::kConnecting) return;
  reactor_.counters().Add(Counter::kConnectErrors);
  Fail(CloseReason::kClosed);
}

void Connection::OnConnected(int result) {
  connect_pending_ = false;
  connect_address_.reset();
  if (state_ == State::kEnding) return FinishIfOver();
  if (result < 0) {
    reactor_.counters().Add(Counter::kConnectErrors);
    return Fail(CloseReason::kConnectFailed, -result, SystemCall::kConnect);
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
  reactor_.descriptors().Enter(slot(), {fd_.Get(), generation(), &bytes_received_});
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
  event.port = PortOf(peer);
  char host[INET6_ADDRSTRLEN];
  event.address_length = static_cast<uint32_t>(WriteHost(peer, host));
  std::memcpy(event.address, host, event.address_length);
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
        if (completion.result > 0) {
          bytes_sent_ += static_cast<uint64_t>(completion.result);
          out_.Consume(static_cast<size_t>(completion.result));
        }
        return FinishIfOver();
      }
      if (OnSent(completion.result)) StartSend();
      if (detaching_) [[unlikely]] {
        DetachIfOver();
      }
      return;
    case Op::kConnect:
      return OnConnected(completion.result);
    default:
      CHECK(false);
  }
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
  // A peer that takes nothing is cut by writeStallTimeoutMs, one that takes a byte now and then here: what is queued
  // has the same time as a frame of its length would have to come in.
  close_deadline_ms_ = reactor_.now_ms() + StallMs() + out_.size() * 1000 / limits::partial_frame_min_rate;
  reactor_.ArmTimer(*this, NextDeadline(reactor_.now_ms()));
  reactor_.MarkDirty(*this);
}

// Nothing can be sent any more, or must not.
void Connection::Fail(CloseReason reason, int error, SystemCall call) {
  if (state_ == State::kEnding) return;
  if (state_ == State::kConnecting || state_ == State::kOpen) {
    reason_ = reason;
    error_ = error;
    call_ = call;
    behind_bytes_ = call == SystemCall::kRead && credit_turn_ == reactor_.turn() && credit_frames_ > 0;
  }
  End();
}

void Connection::Abort(CloseReason reason) {
  if (state_ == State::kEnding) return;
  ResetAtClose();
  Fail(reason);
}

// Closing the descriptor will reset, and the kernel drops what it has not sent.
void Connection::ResetAtClose() {
  const linger reset{.l_onoff = 1, .l_linger = 0};
  if (fd_.Valid()) ::setsockopt(fd_.Get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

// No linger and no waiting for the peer. What is queued has its last try now (the process may end with this turn), or
// in FinishIfOver, when the send that is in flight is over.
void Connection::Destroy(CloseReason reason) {
  if (state_ == State::kEnding) return;
  destroyed_ = state_ == State::kOpen || state_ == State::kFlushing;
  if (destroyed_ && !send_pending_ && send_error_ == 0) SendAtOnce();
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

// Everything that was read has been delivered, everything that was queued is sent, and nothing is in flight. Called
// when any of that may have become true.
void Connection::DetachIfOver() {
  // After a fault bytes are lost, and JavaScript closes.
  if (state_ != State::kOpen || HasOperations() || blocked_ || faulted_ || !out_.empty()) return;
  if (!in_.empty()) {
    // Bytes of an incomplete frame cannot be put back.
    detaching_ = false;
    paused_ = paused_before_;
    TellDetached(-1);
    return UpdateReceive();
  }
  reactor_.descriptors().Leave(slot());
  reactor_.driver().Forget(fd_.Get());
  TellDetached(fd_.Release());
  Fail(CloseReason::kDetached);
}

void Connection::TellDetached(int fd) {
  const DetachedEvent event{fd, static_cast<uint32_t>(in_.size())};
  reactor_.events().Push(EventKind::kDetached, slot(), {reinterpret_cast<const uint8_t*>(&event), sizeof event});
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
  if (destroyed_) SendAtOnce();
  ClearSendQueue();
  if (opened_) reactor_.descriptors().Leave(slot());
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
      .limit_low = Low(frame_limit_),
      .limit_high = High(frame_limit_),
      .token = token_,
      .opened = opened_,
      .call = static_cast<uint32_t>(call_),
      .received_low = Low(bytes_received_.load(std::memory_order_relaxed)),
      .received_high = High(bytes_received_.load(std::memory_order_relaxed)),
      .behind_bytes = behind_bytes_,
  };
  reactor_.events().Push(EventKind::kClose, slot(), {reinterpret_cast<const uint8_t*>(&event), sizeof event});
}

// --- time

// Where it is off, closing has the default: somebody must end it.
uint64_t Connection::StallMs() const {
  const uint64_t stall = options_->write_stall_timeout_ms;
  return stall == 0 && state_ == State::kFlushing ? limits::write_stall_timeout_ms : stall;
}

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
  if (state_ == State::kOpen || state_ == State::kFlushing) consider(StallMs(), write_since_ms_, 0);
  return next;
}

// This thread did not come round for so long (in Node's loop: JavaScript was busy): we did not read, nor see what was
// taken.
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
    return Fail(CloseReason::kConnectTimeout, ETIMEDOUT, SystemCall::kConnect);
  }
  if (now_ms >= close_deadline_ms_) return state_ == State::kLingering ? End() : Abort(CloseReason::kWriteStalled);
  ForgiveLateness();
  const uint64_t stall = StallMs();
  if (stall > 0 && write_since_ms_ > 0 && now_ms >= write_since_ms_ + stall) {
    reactor_.counters().Add(Counter::kWriteStalls);
    return Abort(CloseReason::kWriteStalled);
  }
  if (state_ == State::kOpen) {
    if (options_->partial_frame_timeout_ms > 0 && partial_since_ms_ > 0 && !starved_ && now_ms >= PartialDeadline()) {
      reactor_.counters().Add(Counter::kPartialFrameTimeouts);
      Fault(CloseReason::kPartialFrameTimeout);
    } else if (paused_ || blocked_ || held_ || starved_) {
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
