// Of a connection: commands, the send queue, and what the kernel took of it.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "base/tables.gen.h"
#include "connection.h"
#include "driver/send_at_once.h"
#include "socket_end.h"

namespace ringway {

namespace {
// Of one send. More make it a short one.
constexpr int kSendParts = 8;
// Of one that takes what it can and leaves the rest where it lies: a link's turn, each frame behind its header.
constexpr int kSendAtOnceParts = 64;
// Queued bytes are counted against the engine's limit in steps, so that a small answer costs no shared atomic.
constexpr size_t kAccountStep = 16 * 1024;
// Below it a copy is cheaper than a send of the connection's own, where the driver sends many with one call (io_uring).
constexpr size_t kLendBytes = 8 * 1024;

size_t BytesOf(const iovec* parts, int count) {
  size_t bytes = 0;
  for (int i = 0; i < count; ++i) bytes += parts[i].iov_len;
  return bytes;
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
}  // namespace

void Connection::OnCommand(CommandKind kind, const uint32_t* words) {
  switch (kind) {
    case CommandKind::kSend: {
      if (state_ != State::kOpen || fin_wanted_) return reactor_.counters().Add(Counter::kStaleCommands);
      QueueParts(words + sizeof(CommandHeader) / 4, words + (words[0] & kCommandSizeMask));
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
    case CommandKind::kSendPinned: {
      const auto* send = reinterpret_cast<const SendPinnedCommand*>(words);
      if (state_ != State::kOpen || fin_wanted_) return reactor_.counters().Add(Counter::kStaleCommands);
      out_.AppendPinned(reinterpret_cast<const uint8_t*>(Join(send->address_low, send->address_high)), send->length);
      return AfterQueued();
    }
    case CommandKind::kClose:
      if (state_ == State::kOpen && static_cast<CloseReason>(words[3]) == CloseReason::kIdleTimeout) {
        reactor_.counters().Add(Counter::kIdleTimeouts);
      }
      return Close(static_cast<CloseReason>(reinterpret_cast<const CloseCommand*>(words)->reason));
    case CommandKind::kAbort:
      return Abort(static_cast<CloseReason>(reinterpret_cast<const CloseCommand*>(words)->reason));
    case CommandKind::kReset:
      if (state_ == State::kEnding) return;
      ResetAtClose();
      return Destroy(static_cast<CloseReason>(reinterpret_cast<const CloseCommand*>(words)->reason));
    case CommandKind::kDestroy:
      return Destroy(static_cast<CloseReason>(reinterpret_cast<const CloseCommand*>(words)->reason));
    case CommandKind::kDetach:
      if (state_ != State::kOpen || fin_wanted_ || detaching_) return;
      detaching_ = true;
      // What was read goes to its owner before the descriptor does.
      paused_before_ = paused_;
      paused_ = false;
      UpdateReceive();
      if (!in_.empty()) {
        blocked_ = true;
        reactor_.MarkReady(*this);
      }
      return reactor_.MarkDirty(*this);
    case CommandKind::kShutdown:
      if (state_ != State::kOpen || fin_wanted_) return;
      fin_wanted_ = true;
      return reactor_.MarkDirty(*this);
    case CommandKind::kPause:
      if (state_ != State::kOpen) return;
      // What was read leaves first; if the descriptor stays after all, it is paused then.
      if (detaching_) {
        paused_before_ = true;
        return;
      }
      paused_ = true;
      partial_since_ms_ = 0;
      UpdateReceive();
      if (send_error_ != 0) [[unlikely]] {
        SettleSendError();
      }
      return;
    case CommandKind::kResume:
      if (detaching_) paused_before_ = false;
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

// Beyond the bound of what may wait the connection ends: the rest need not be copied.
void Connection::QueueParts(const uint32_t* at, const uint32_t* end) {
  while (at < end && out_.size() <= options_->max_buffered_bytes) {
    const auto* part = reinterpret_cast<const SendPart*>(at);
    at += sizeof(SendPart) / 4;
    Queue(at, part->inline_length);
    if (part->length > 0) Queue(reactor_.BytesOf(part->reactor, part->place, part->length), part->length);
    at += (part->inline_length + 3) / 4;
  }
  CHECK(at <= end);
}

void Connection::Queue(const uint32_t* inline_words, uint32_t inline_length) {
  if (inline_length > 0) Queue(reinterpret_cast<const uint8_t*>(inline_words), inline_length);
}

// Memory that is JavaScript's again when the commands are taken. What is long is first offered to the kernel as it
// lies.
void Connection::Queue(const uint8_t* bytes, size_t length) {
  if (length < kLendBytes || send_pending_ || send_error_ != 0) return out_.Append({bytes, length});
  if (!out_.HasLent()) reactor_.MarkLent(*this);
  out_.AppendLent(bytes, length);
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
  if (detaching_) [[unlikely]] {
    DetachIfOver();
  }
}

// At most one send is in flight: two would interleave their bytes.
void Connection::StartSend() {
  if (send_error_ != 0) [[unlikely]] {
    return SettleSendError();
  }
  while (!out_.empty()) {
    iovec parts[kSendParts];
    const int count = LimitBytes(parts, out_.Gather(parts, kSendParts), limits::send_bytes);
    reactor_.counters().Add(Counter::kSends);
    if (write_since_ms_ == 0) write_since_ms_ = reactor_.now_ms();
    send_bytes_ = static_cast<uint32_t>(BytesOf(parts, count));
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
  if (accounted == buffered_accounted_ || !options_->is_accounted) [[likely]] {
    return true;
  }
  const auto delta = static_cast<int64_t>(accounted) - static_cast<int64_t>(buffered_accounted_);
  buffered_accounted_ = accounted;
  const int64_t total = options_->accounts->buffered_bytes.fetch_add(delta, std::memory_order_relaxed) + delta;
  if (delta < 0 || total <= static_cast<int64_t>(options_->accounts->max_buffered_bytes)) return true;
  // Who takes what it gets does not pay for those who filled the engine.
  if (out_.size() <= options_->high_water_mark) return true;
  reactor_.counters().Add(Counter::kMemoryFull);
  Abort(CloseReason::kMemoryFull);
  return false;
}

// False when the connection ends with it.
bool Connection::OnSent(int32_t result) {
  if (result < 0) {
    OnSendError(-result);
    return false;
  }
  bytes_sent_ += static_cast<uint64_t>(result);
  out_.Consume(static_cast<size_t>(result));
  last_active_ms_ = reactor_.now_ms();
  write_since_ms_ = out_.empty() ? 0 : last_active_ms_;
  reactor_.counters().Add(Counter::kBytesSent, static_cast<uint64_t>(result));
  if (static_cast<uint32_t>(result) < send_bytes_) reactor_.counters().Add(Counter::kShortSends);
  reactor_.ReportProgress(slot(), bytes_sent_);
  if (want_drain_) [[unlikely]] {
    ReportDrain();
  }
  return true;
}

// What came before the connection broke is delivered before its error, and where somebody reads the error is the
// read's.
void Connection::OnSendError(int error) {
  send_error_ = error;
  const bool is_reading = state_ == State::kOpen && receive_armed_ && !receive_stopping_;
  // Otherwise the receive may go on for ever.
  if (is_reading && IsHungUp(fd_.Get())) return;
  FailSend();
}

// Once nothing more is read, or whoever reads has paused.
void Connection::SettleSendError() {
  const bool is_reading = receive_armed_ || ReceiveWanted() || (blocked_ && !paused_);
  if (!is_reading) FailSend();
}

void Connection::FailSend() {
  const int error = send_error_ == EPIPE && !peer_fin_ && WasCutOff() ? ECONNRESET : send_error_;
  Fail(IsReset(error) ? CloseReason::kPeerReset : CloseReason::kIoError, error, SystemCall::kWrite);
}

// What the kernel takes of the queue in this call, while no send is in flight. False when nothing more can be sent.
bool Connection::SendAtOnce() {
  while (!out_.empty()) {
    iovec parts[kSendAtOnceParts];
    const int count = out_.Gather(parts, kSendAtOnceParts);
    send_bytes_ = static_cast<uint32_t>(BytesOf(parts, count));
    const int32_t sent = ringway::SendAtOnce(fd_.Get(), parts, count);
    if (sent == -EAGAIN) return true;
    reactor_.counters().Add(Counter::kSends);
    if (!OnSent(sent)) return false;
    if (static_cast<uint32_t>(sent) < send_bytes_) return true;
  }
  return true;
}

void Connection::SettleLent() {
  const bool may_send = state_ == State::kOpen || state_ == State::kFlushing;
  if (may_send && out_.HasLent() && !send_pending_ && send_error_ == 0) SendAtOnce();
  out_.KeepLent();
}

// The caller waits for the answer, so that it may use its memory again: not the one send of the turn, as for what is
// copied. To `keep` is to copy what the kernel does not take.
void Connection::SendNow(std::span<const uint8_t> bytes, bool keep) {
  if (state_ != State::kOpen || fin_wanted_) return reactor_.counters().Add(Counter::kStaleCommands);
  const bool may_send = !send_pending_ && send_error_ == 0;
  if (!keep) {
    out_.AppendPinned(bytes.data(), bytes.size());
  } else if (may_send) {
    out_.AppendLent(bytes.data(), bytes.size());
  } else {
    out_.Append(bytes);
  }
  if (may_send) {
    const bool goes_on = SendAtOnce();
    out_.KeepLent();
    if (!goes_on) return;
    // The driver says when there is room; until then nobody tries again.
    StartSend();
  }
  if (state_ == State::kOpen && !out_.empty()) AfterQueued();
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
    if (state_ == State::kOpen) reactor_.events().Push(EventKind::kFinish, slot());
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

}  // namespace ringway
