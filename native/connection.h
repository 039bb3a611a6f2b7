// One socket: received bytes through the framer into events, commands into the send queue, timeouts, closing.
//
// Thread rule: belongs to its reactor's thread.
// Lifetime rule: lives until its last operation is over; then tells JavaScript (kClose), leaves its slot, and is freed
// at the end of the tick.
//
//   connecting ──► open ──► flushing ──► lingering ──► ending ──► (freed)
//        │          │          │             │           ▲
//        └──────────┴──────────┴─────────────┴───────────┘   an error, a timeout, an abort
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "base/fd.h"
#include "buffer/partial_buffer.h"
#include "buffer/send_queue.h"
#include "connection_options.h"
#include "operation_owner.h"
#include "reactor.h"

namespace ringway {

class Connection final : public OperationOwner {
 public:
  // An accepted socket. The ticket is given back to options->admission at the end.
  static void Adopt(Reactor& reactor, Fd fd, std::shared_ptr<const ConnectionOptions> options,
                    Admission::Ticket ticket);
  // An outgoing one; `token` is JavaScript's name for it until the open event (or the close event, if it never opens).
  static void Connect(Reactor& reactor, const sockaddr_storage& address, socklen_t length,
                      std::shared_ptr<const ConnectionOptions> options, uint32_t token);

  // An open one that somebody else has connected.
  static void TakeOver(Reactor& reactor, Fd fd, std::shared_ptr<const ConnectionOptions> options, uint32_t token);

  void OnCompletion(Completion& completion) override;
  void OnTimer(uint64_t now_ms) override;
  void Flush() override;
  void Resume() override;
  void OnCommand(CommandKind kind, const uint32_t* words) override;
  bool RestartReceive() override;
  void SettleLent() override;
  void SendNow(std::span<const uint8_t> bytes, bool keep) override;
  void OnAbandoned(uint32_t token) override;
  void SetFraming(const FramingOptions& framing) override;
  void Shut(bool graceful) override;

 private:
  enum class State : uint8_t {
    kConnecting,
    kOpen,
    kFlushing,   // closing: what is queued is sent, what is received is discarded
    kLingering,  // closing: FIN is sent; reads on for a moment so that no reset destroys what the peer has not read
    kEnding,     // every operation was asked to end; frees itself with the last one
  };

  Connection(Reactor& reactor, Fd fd, std::shared_ptr<const ConnectionOptions> options, Admission::Ticket ticket,
             uint32_t token);
  ~Connection() override;

  void Open();
  void PushOpenEvent();
  void PushCloseEvent();

  int Prepare(int family);
  void OnConnected(int result);
  void OnReceived(Completion& completion);
  void TakeBytes(Completion& completion);
  bool MayFrameInRing() const;
  void AfterReceived();
  void ReceiveAtOnce();
  void OnBytes(std::span<const uint8_t> bytes, const Completion& completion);
  void OnPeerFin();
  void OnReceiveError(int error);

  void ResumeInput();
  bool HasCredit() const;
  bool MayDeliver();
  void Feed(std::span<const uint8_t> bytes);
  void FeedRaw(std::span<const uint8_t> bytes, const Completion& completion);
  std::span<const uint8_t> FeedInPlace(std::span<const uint8_t> bytes);
  bool FeedPartial();
  void Fault(CloseReason reason);
  bool Accept(const FrameResult& result, const uint8_t* bytes);
  void DeliverInline(const uint8_t* payload, size_t length);
  void DeliverLarge(const uint8_t* payload, size_t length);
  void PushLarge(Block* block, size_t offset, size_t length);
  void PushReceived(Block* block, size_t length);
  void CreditLarge();
  bool Keep(std::span<const uint8_t> bytes, size_t limit_hint);
  void FinishInput();
  void AccountPartial();
  bool ReceiveWanted() const;
  void UpdateReceive();

  void QueueParts(const uint32_t* at, const uint32_t* end);
  void Queue(const uint32_t* inline_words, uint32_t inline_length);
  void Queue(const uint8_t* bytes, size_t length);
  void AfterQueued();
  void StartSend();
  bool AccountBuffered();
  bool OnSent(int32_t result);
  void OnSendError(int error);
  void SettleSendError();
  void FailSend();
  void AfterSendQueueEmpty();
  void ClearSendQueue();
  void ReportDrain();

  void Close(CloseReason reason);
  void Fail(CloseReason reason, int error = 0, SystemCall call = SystemCall::kNone);
  void Abort(CloseReason reason);
  void Destroy(CloseReason reason);
  void ResetAtClose();
  static void RefuseOutgoing(Reactor& reactor, uint32_t token);
  void DetachIfOver();
  void TellDetached(int fd);
  bool SendAtOnce();
  void End();
  void FinishIfOver();

  static bool IsReset(int error);
  bool WasCutOff() const;
  bool HasOperations() const { return receive_armed_ || send_pending_ || connect_pending_; }
  uint64_t NextDeadline(uint64_t now_ms);
  uint64_t StallMs() const;
  uint64_t PartialDeadline() const;
  void ForgiveLateness();

  Reactor& reactor_;
  Fd fd_;
  State state_ = State::kConnecting;
  CloseReason reason_ = CloseReason::kClosed;
  // True exactly when…
  bool opened_ : 1 = false;            // JavaScript was told of it
  bool receive_armed_ : 1 = false;     // a receive is with the driver
  bool receive_stopping_ : 1 = false;  // …and was asked to end
  bool starved_ : 1 = false;           // …or ended for want of a buffer: RestartReceive comes
  bool send_pending_ : 1 = false;      // a send is with the driver
  bool connect_pending_ : 1 = false;   // a connect is with the driver
  bool paused_ : 1 = false;            // JavaScript asked not to read
  bool blocked_ : 1 = false;           // input waits for credit or room, in in_
  bool peer_fin_ : 1 = false;          // the peer sent FIN
  bool faulted_ : 1 = false;           // the peer's input is over for what was wrong with it; JavaScript will close
  bool end_told_ : 1 = false;          // JavaScript was told of it
  bool fin_wanted_ : 1 = false;        // FIN follows when the queue is empty
  bool fin_sent_ : 1 = false;
  bool want_drain_ : 1 = false;     // JavaScript waits for the low watermark
  bool finished_ : 1 = false;       // JavaScript was told of the end; only the memory is left
  bool raw_ : 1 = false;            // nothing is framed: what is received is passed on as it came
  bool held_ : 1 = false;           // the last frame ended with a hold: SetFraming goes on
  bool paused_before_ : 1 = false;  // …detaching, or JavaScript asked for it meanwhile
  bool detaching_ : 1 = false;      // the descriptor is given back when nothing is in flight and nothing waits
  bool destroyed_ : 1 = false;      // what is queued gets one last try when nothing is in flight any more
  bool behind_bytes_ : 1 = false;   // the read whose error ended it found bytes first, in the same turn
  bool long_input_ : 1 = false;     // the bytes that came last were many
  uint8_t unfed_ : 2 = 0;           // receives started again in a row, without bytes since: up to kMostUnfed
  SystemCall call_ = SystemCall::kNone;

  uint32_t token_;
  uint32_t credit_turn_ = 0;
  uint32_t credit_frames_ = 0;
  uint32_t credit_bytes_ = 0;
  int32_t error_ = 0;
  uint32_t send_bytes_ = 0;         // of the send that is under way, or was last
  int32_t receive_error_ = 0;       // an errno: nothing more can be received, and what waits in in_ comes first
  int32_t send_error_ = 0;          // an errno: nothing more can be sent, and what was received comes first
  size_t partial_needed_ = 1;       // bytes of in_ at which framing it again makes sense
  size_t partial_frame_bytes_ = 0;  // whole size of the incomplete frame, once known
  size_t partial_accounted_ = 0;
  size_t buffered_accounted_ = 0;
  uint64_t last_active_ms_ = 0;
  uint64_t partial_since_ms_ = 0;  // 0: nothing incomplete, or not reading
  uint64_t write_since_ms_ = 0;    // 0: nothing waits for the peer
  uint64_t close_deadline_ms_ = 0;
  uint64_t bytes_sent_ = 0;
  std::atomic<uint64_t> bytes_received_{0};  // any thread may read
  uint64_t declared_ = 0;
  uint64_t frame_limit_ = 0;
  uint32_t lingered_bytes_ = 0;
  Admission::Ticket ticket_;
  std::shared_ptr<const ConnectionOptions> options_;
  std::unique_ptr<Framer> framer_;
  std::unique_ptr<sockaddr_storage> connect_address_;  // the driver reads it until it has connected
  PartialBuffer in_;
  SendQueue out_;
};

}  // namespace ringway
