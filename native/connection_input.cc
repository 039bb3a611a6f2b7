// Of a connection: received bytes, through the framer, into events.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/tables.gen.h"
#include "connection.h"
#include "socket_end.h"

namespace ringway {

namespace {
// Unframed input that a blocked connection may hold before it is no longer read.
constexpr size_t kHoldBytes = 256 * 1024;
constexpr size_t kLongInputBytes = 4096;
// Receives in a row that find no buffer before one is made past the buffers.
constexpr uint8_t kMostUnfed = 3;
// An outgoing connection's share of maxPartialBytes is no less than one in so many.
constexpr uint64_t kOutgoingShare = 16;
}  // namespace

void Connection::OnReceived(Completion& completion) {
  if (!completion.more) receive_armed_ = receive_stopping_ = false;
  if (completion.has_data) {
    TakeBytes(completion);
  } else if (completion.result == 0) {
    OnPeerFin();
  } else if (completion.result == -ENOBUFS) {
    reactor_.counters().Add(Counter::kReceiveBuffersStarved);
    // Started again in its turn, by RestartReceive and nobody else.
    if (state_ != State::kEnding) {
      starved_ = true;
      reactor_.MarkStarved(*this, raw_);
    }
  } else if (completion.result < 0 && completion.result != -ECANCELED && state_ != State::kEnding) {
    OnReceiveError(-completion.result);
  }
  AfterReceived();
}

void Connection::AfterReceived() {
  if (state_ == State::kEnding) return FinishIfOver();
  if (detaching_) return reactor_.MarkDirty(*this);
  // Armed again in Flush, when the receive buffers of this turn are back with the driver.
  if (!receive_armed_ && ReceiveWanted()) reactor_.MarkDirty(*this);
  if (send_error_ != 0) [[unlikely]] {
    SettleSendError();
  }
}

// Of one connection as much as goes to JavaScript at once: each receive opens the peer's window, and what it then sends
// fills the next one. In turns with others each would find what the window left (500 raw connections x 16 of 64 KB:
// half of the chunks were 29 KB, and the CPU per message 1.2 times as much).
void Connection::TakeBytes(Completion& completion) {
  do {
    EventRing& events = reactor_.events();
    std::span<uint8_t> room;
    if (MayFrameInRing()) {
      room = events.RoomToReceive(kBlockBytes);
      reactor_.driver().OfferRoom(room);
    }
    const std::span<const uint8_t> bytes = reactor_.driver().Take(completion);
    if (bytes.empty()) continue;
    if (bytes.data() != room.data()) {
      OnBytes(bytes, completion);
      continue;
    }
    events.BeginReceived(bytes.size());
    OnBytes(bytes, completion);
    events.EndReceived();
  } while (completion.has_data && state_ == State::kOpen && in_.empty() && reactor_.MayTakeChunks());
}

// Bytes that are long, by those that came last: short ones cost less received into a buffer that stays in the cache
// and copied from there (echo 500 x 16 of 64 bytes: 5 to 8 %). What is not framed at once is copied anyway.
bool Connection::MayFrameInRing() const {
  return long_input_ && !raw_ && reactor_.driver().ReceivesAtTake() && state_ == State::kOpen && in_.empty() &&
         !faulted_ && !paused_ && !blocked_ && !held_;
}

bool Connection::RestartReceive() {
  starved_ = false;
  // It was not read for so long: that is not held against the peer.
  last_active_ms_ = reactor_.now_ms();
  // Others that stream fill every buffer that comes back before this one's turn, and never find none themselves: it
  // would go on like that for seconds.
  if (unfed_ == kMostUnfed && ReceiveWanted()) {
    ReceiveAtOnce();
    return true;
  }
  if (unfed_ < kMostUnfed) ++unfed_;
  UpdateReceive();
  return receive_armed_;
}

void Connection::ReceiveAtOnce() {
  unfed_ = 0;
  Completion completion{.data = Data(Op::kReceive)};
  const std::span<const uint8_t> bytes = reactor_.driver().ReceiveAtOnce(fd_.Get(), raw_, completion);
  if (completion.result != -EAGAIN && bytes.empty()) return OnReceived(completion);
  if (!bytes.empty()) OnBytes(bytes, completion);
  AfterReceived();
}

void Connection::OnBytes(std::span<const uint8_t> bytes, const Completion& completion) {
  last_active_ms_ = reactor_.now_ms();
  bytes_received_.store(bytes_received_.load(std::memory_order_relaxed) + bytes.size(), std::memory_order_relaxed);
  reactor_.counters().Add(Counter::kBytesReceived, bytes.size());
  unfed_ = 0;
  long_input_ = bytes.size() >= kLongInputBytes;
  if (state_ != State::kOpen || faulted_) {
    reactor_.counters().Add(Counter::kDroppedBytesAfterClose, bytes.size());
    if (state_ != State::kLingering) return;
    lingered_bytes_ += static_cast<uint32_t>(bytes.size());
    if (lingered_bytes_ > limits::linger_bytes) End();
    return;
  }
  if (paused_ || blocked_ || held_) {
    if (!Keep(bytes, 0)) return;
    AccountPartial();
    UpdateReceive();
    return;
  }
  if (raw_) return FeedRaw(bytes, completion);
  Feed(bytes);
}

void Connection::OnPeerFin() {
  if (peer_fin_) return;
  if (WasCutOff()) {
    return OnReceiveError(send_error_ == 0 || send_error_ == EPIPE ? ECONNRESET : send_error_);
  }
  peer_fin_ = true;
  if (state_ == State::kOpen && !paused_ && !blocked_ && !held_ && !faulted_) FinishInput();
  if (state_ == State::kLingering) End();
}

// What was received before it, and waits, is delivered first.
void Connection::OnReceiveError(int error) {
  const bool waits = state_ == State::kOpen && !faulted_ && !in_.empty() && (paused_ || blocked_ || held_);
  if (waits) {
    receive_error_ = error;
  } else {
    Fail(IsReset(error) ? CloseReason::kPeerReset : CloseReason::kIoError, error, SystemCall::kRead);
  }
}

// Without our own FIN a peer's leaves our direction open. Where both are over, a send that was under way has been told
// of the reset, in the receive's place: io_uring shows it as a short send, if any bytes had left.
bool Connection::WasCutOff() const {
  if (state_ != State::kOpen || fin_sent_) return false;
  return WasReset(fd_.Get(), bytes_received_.load(std::memory_order_relaxed), !out_.empty());
}

// Of this turn.
inline bool Connection::HasCredit() const {
  return credit_frames_ < options_->credit_frames && credit_bytes_ < options_->credit_bytes;
}

// Credit makes connections take turns; room is JavaScript's pace.
bool Connection::MayDeliver() {
  if (credit_turn_ != reactor_.turn()) {
    credit_turn_ = reactor_.turn();
    credit_frames_ = 0;
    credit_bytes_ = 0;
  }
  if (HasCredit() && reactor_.events().HasRoomForFrame(limits::inline_frame_bytes)) [[likely]] {
    return true;
  }
  blocked_ = true;
  partial_since_ms_ = 0;
  reactor_.counters().Add(Counter::kReceivePauses);
  reactor_.MarkReady(*this);
  return false;
}

void Connection::Resume() {
  if (state_ != State::kOpen || faulted_) return;
  if (!paused_) ResumeInput();
  if (send_error_ != 0) [[unlikely]] {
    SettleSendError();
  }
}

void Connection::ResumeInput() {
  blocked_ = false;
  Feed({});
  if (state_ == State::kOpen && !blocked_ && !held_) {
    if (receive_error_ != 0) return OnReceiveError(receive_error_);
    if (peer_fin_ && !end_told_) FinishInput();
  }
  if (detaching_) DetachIfOver();
}

void Connection::Feed(std::span<const uint8_t> bytes) {
  while (state_ == State::kOpen && !blocked_ && !held_ && !faulted_) {
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
  if ((blocked_ || held_) && !bytes.empty() && !Keep(bytes, 0)) return;
  if (in_.empty() || blocked_ || held_) {
    partial_since_ms_ = 0;
  } else if (partial_since_ms_ == 0) {
    partial_since_ms_ = reactor_.now_ms();
  }
  AccountPartial();
  UpdateReceive();
}

inline void Connection::DeliverInline(const uint8_t* payload, size_t length) {
  EventRing& events = reactor_.events();
  if (events.HoldsReceived(payload)) {
    events.PushFrameInPlace(slot(), payload, length);
  } else if (raw_ || length < options_->held_frame_bytes || !reactor_.PushHeldFrame(slot(), payload, length)) {
    events.PushFrame(slot(), payload, length);
  }
  reactor_.counters().Add(Counter::kFramesReceived);
  ++credit_frames_;
  credit_bytes_ += static_cast<uint32_t>(length);
}

// Delivers a frame, or remembers what is missing, or closes for what is wrong. True when a frame was delivered.
inline bool Connection::Accept(const FrameResult& result, const uint8_t* bytes) {
  switch (result.status) {
    case FrameStatus::kFrame:
      DCHECK(result.offset + result.length <= result.consumed);
      partial_needed_ = 1;
      partial_frame_bytes_ = 0;
      // Written only where it changes: the next frame reads its neighbours with it, and would wait for the byte alone.
      if (result.hold) held_ = true;
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

// What is long goes as the block that the kernel wrote into; what is short behind what came before it in this turn.
void Connection::FeedRaw(std::span<const uint8_t> bytes, const Completion& completion) {
  if (!in_.empty() || !MayDeliver()) return Feed(bytes);
  if (bytes.size() >= limits::owned_chunk_bytes) {
    if (Block* block = reactor_.driver().Detach(completion)) return PushReceived(block, bytes.size());
  }
  if (!reactor_.events().ExtendFrame(slot(), bytes.data(), bytes.size(), limits::inline_frame_bytes)) {
    return DeliverInline(bytes.data(), bytes.size());
  }
  credit_bytes_ += static_cast<uint32_t>(bytes.size());
}

// Frames out of the driver's buffer. Answers what is left: an incomplete frame, or what waits for credit.
std::span<const uint8_t> Connection::FeedInPlace(std::span<const uint8_t> bytes) {
  if (bytes.empty() || held_ || !MayDeliver()) return bytes;
  // Asked once for all frames that these bytes may hold.
  uint32_t with_room = reactor_.events().FramesWithRoom(bytes.size());
  do {
    const FrameResult result = framer_->Next(bytes);
    const bool delivered = Accept(result, bytes.data());
    if (state_ != State::kOpen || faulted_) return {};
    if (!delivered) break;
    bytes = bytes.subspan(result.consumed);
    if (with_room > 0) --with_room;
  } while (!bytes.empty() && !held_ && ((with_room > 0 && HasCredit()) || MayDeliver()));
  return bytes;
}

// One frame out of in_. False when it holds no whole frame, or may not deliver one now.
bool Connection::FeedPartial() {
  if (held_ || in_.size() < partial_needed_ || !MayDeliver()) return false;
  const std::span<const uint8_t> bytes = in_.bytes();
  const FrameResult result = framer_->Next(bytes);
  if (result.status == FrameStatus::kFrame && result.length > limits::inline_frame_bytes) {
    size_t base = 0;
    if (Block* block = in_.DetachAsBlock(result.consumed, &base)) {
      partial_needed_ = 1;
      partial_frame_bytes_ = 0;
      partial_since_ms_ = 0;
      held_ = result.hold;
      PushLarge(block, base + result.offset, result.length);
      return true;
    }
  }
  if (!Accept(result, bytes.data()) || state_ != State::kOpen) return false;
  in_.Consume(result.consumed);
  partial_since_ms_ = 0;
  return true;
}

void Connection::DeliverLarge(const uint8_t* payload, size_t length) {
  Block* block = Block::Make(length);
  if (block == nullptr) return Fail(CloseReason::kMemoryFull);
  std::memcpy(block->data(), payload, length);
  PushLarge(block, 0, length);
}

void Connection::PushLarge(Block* block, size_t offset, size_t length) {
  const auto address = reinterpret_cast<uint64_t>(block);
  const LargeFrameEvent event{Low(address), High(address), static_cast<uint32_t>(offset), static_cast<uint32_t>(length),
                              raw_ ? kWantsLanding : kNoLanding};
  reactor_.events().PushLargeFrame(slot(), event);
  CreditLarge();
}

void Connection::PushReceived(Block* block, size_t length) {
  const auto address = reinterpret_cast<uint64_t>(block);
  LargeFrameEvent event{Low(address), High(address), 0, static_cast<uint32_t>(length), kWantsLanding};
  if (block->landing() != Block::kNoLanding) {
    event.block_low = event.block_high = 0;
    event.landing = block->landing();
    block->Unref();
  }
  reactor_.events().PushLargeFrame(slot(), event);
  reactor_.CountChunk(length);
  CreditLarge();
}

void Connection::CreditLarge() {
  reactor_.counters().Add(Counter::kFramesReceived);
  ++credit_frames_;
  // It takes no room in the ring. Of a raw connection as many as it has frames; a frame is one in its turn.
  if (!raw_) credit_bytes_ += options_->credit_bytes;
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
  if (held == partial_accounted_ || !options_->is_accounted) [[likely]] {
    return;
  }
  const auto delta = static_cast<int64_t>(held) - static_cast<int64_t>(partial_accounted_);
  partial_accounted_ = held;
  const int64_t total = options_->accounts->partial_bytes.fetch_add(delta, std::memory_order_relaxed) + delta;
  const uint64_t most = options_->accounts->max_partial_bytes;
  if (delta <= 0 || total <= static_cast<int64_t>(most) || state_ != State::kOpen) return;
  // Who holds no more than its share does not pay for those who filled it. All shares together are the bound once more.
  // An outgoing connection carries the answers for many clients: at the defaults it is spared with the longest frame.
  const uint64_t share = most / reactor_.ConnectionsOfAll();
  if (held <= (options_->listener == 0 ? std::max(share, most / kOutgoingShare) : share)) return;
  reactor_.counters().Add(Counter::kMemoryFull);
  Fault(CloseReason::kMemoryFull);
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
  if (peer_fin_ || receive_error_ != 0) return false;
  switch (state_) {
    case State::kOpen:
      return !paused_ && !detaching_ && !((blocked_ || held_) && in_.size() >= kHoldBytes);
    case State::kFlushing:
    case State::kLingering:
      return true;
    default:
      return false;
  }
}

void Connection::UpdateReceive() {
  const bool wanted = ReceiveWanted();
  if (wanted && !receive_armed_ && !starved_) {
    receive_armed_ = true;
    if (raw_) return reactor_.driver().ReceiveBlocks(Data(Op::kReceive), fd_.Get());
    reactor_.driver().Receive(Data(Op::kReceive), fd_.Get());
  } else if (!wanted && receive_armed_ && !receive_stopping_) {
    receive_stopping_ = true;
    reactor_.driver().StopReceive(Data(Op::kReceive), fd_.Get());
  }
}

// What was read and not framed yet is cut by the new framer, from its first byte on.
void Connection::SetFraming(const FramingOptions& framing) {
  if (state_ != State::kOpen || faulted_) return;
  framer_ = MakeFramer(framing);
  raw_ = framing.format == FramingFormat::kRaw;
  frame_limit_ = framing.max_frame_length;
  partial_needed_ = 1;
  partial_frame_bytes_ = 0;
  partial_since_ms_ = 0;
  held_ = false;
  if (paused_) return;
  blocked_ = true;
  reactor_.MarkReady(*this);
}

}  // namespace ringway
