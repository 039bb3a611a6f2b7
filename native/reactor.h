// One event loop: operations out, completions in, time, and the two rings to JavaScript. It is passive: somebody calls
// Tick, either its own thread (Run) or Node's loop. It knows operations and their owners, not connections.
//
// Thread rule: everything belongs to the thread that called Start, except Wake, Post, WantsRoom and the counters.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/command_ring.h"
#include "base/counters.h"
#include "base/event_ring.h"
#include "base/fd.h"
#include "buffer/buffer_pool.h"
#include "buffer/heap_trim.h"
#include "descriptor_table.h"
#include "driver/driver.h"
#include "operation_owner.h"
#include "timer/timerfd.h"
#include "timer/timing_wheel.h"

namespace ringway {

// What JavaScript allocated for one reactor.
struct ReactorMemory {
  EventRing::Memory events;
  const uint32_t* commands = nullptr;  // kCommandWords
  uint32_t* progress = nullptr;        // kSlots: bytes of the connection that the kernel took, low 32 bits
};

class Reactor {
 public:
  using Mail = std::function<void(Reactor&)>;
  // Rings JavaScript's doorbell; called on the reactor's thread when events were published and JavaScript sleeps.
  using Doorbell = std::function<void()>;
  // Milliseconds that never run backwards; the tests bring their own.
  using Clock = uint64_t (*)();

  Reactor(uint32_t index, std::unique_ptr<Driver> driver, const ReactorMemory& memory, Doorbell doorbell,
          Clock clock = MonotonicMs);
  ~Reactor();
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  // Binds the reactor to the calling thread. 0 or a negative errno.
  int Start();
  // One turn. May sleep until there is something to do when `may_block`.
  void Tick(bool may_block);
  // Only what JavaScript asked for since: commands, sends, submit. For Node's loop before it sleeps.
  void RunCommands();
  // Between two ticks: takes commands, then gives the kernel what that connection has queued, and these bytes behind
  // it, as far as it takes them at once. The rest is copied where it is to be kept; otherwise it stays where it lies:
  // whoever asks for the connection's drain hears of it.
  void SendNow(uint32_t slot, uint32_t generation, std::span<const uint8_t> bytes, bool keep);
  // At the end of the process: sends go on as long as the kernel takes what is queued.
  void FinishSends();
  // The last Tick left what else had come, because so many long chunks wait for JavaScript: it is worth another at
  // once.
  bool IsCutShort() const { return cut_short_; }
  // A connection handed over a chunk in memory of its own.
  void CountChunk(size_t bytes) { chunk_bytes_ += bytes; }
  // Not yet as many as JavaScript gets at once.
  bool MayTakeChunks() const;
  // True exactly when a Tick would find something to do without the kernel's word.
  bool HasWork();
  // Ticks until Stop was asked for and everything is closed.
  void Run();

  // From any thread.
  void Wake();
  void Post(Mail mail);
  // JavaScript made room in the event ring: answers (once) whether input waits for it.
  bool TakeWantsRoom() { return wants_room_.exchange(false, std::memory_order_seq_cst); }
  bool HasCommands() const {
    return events_.Control(ControlWord::kCommandHead).load(std::memory_order_relaxed) !=
           events_.Control(ControlWord::kCommandTail).load(std::memory_order_acquire);
  }
  // JavaScript published commands: wakes the reactor if it sleeps.
  void NotifyCommands();

  // Closes every owner, ends its own operations, then publishes kStopped; Run returns after it. Gracefully: what is
  // queued is sent first, for at most lingerTimeoutMs.
  void Stop(bool graceful);
  bool stopped() const { return stopped_; }
  // After the last tick, from any one thread: frees what nobody will take any more (mail, commands, large frames).
  void DropUntaken();

  // False: a newcomer must be refused, for want of a slot or because JavaScript is too far behind to be told of it.
  bool MayAdopt() const { return HasFreeSlot() && events_.waiting_events() < limits::max_waiting_events; }
  bool HasFreeSlot() const { return !free_slots_.empty() || slots_.size() < kSlots; }
  void Register(OperationOwner& owner);
  void Unregister(OperationOwner& owner);
  void FreeLater(OperationOwner& owner) { garbage_.push_back(&owner); }
  void MarkDirty(OperationOwner& owner);
  void MarkReady(OperationOwner& owner);
  // Its receive ended for want of a buffer: RestartReceive is called, once, when buffers have come back.
  void MarkStarved(const OperationOwner& owner, bool in_blocks) {
    (in_blocks ? starved_of_blocks_ : starved_).push_back({owner.slot(), owner.generation()});
  }
  // From OnCommand: it wants SettleLent, once, when all commands are taken.
  void MarkLent(OperationOwner& owner) { lent_.push_back(&owner); }
  void ArmTimer(OperationOwner& owner, uint64_t deadline_ms) { wheel_.Arm(owner, deadline_ms); }

  uint32_t index() const { return index_; }
  uint64_t now_ms() const { return now_ms_; }
  // In this turn's timers: by how much the earliest was missed, when it is more than this thread is ever late by
  // itself.
  uint64_t late_ms() const { return late_ms_; }
  uint32_t turn() const { return turn_; }
  Driver& driver() { return *driver_; }
  TimingWheel& wheel() { return wheel_; }
  BufferPool& pool() { return pool_; }
  EventRing& events() { return events_; }
  Counters& counters() { return counters_; }
  const Counters& counters() const { return counters_; }
  size_t owners() const { return owner_count_; }
  // Owners of connections, listeners apart: what placing looks at. Any thread may read.
  std::atomic<uint32_t>& connections() { return connections_; }
  // Of all reactors together, at least 1.
  uint64_t ConnectionsOfAll() const;
  // Any thread.
  DescriptorTable& descriptors() { return descriptors_; }
  // nullptr: it is gone.
  OperationOwner* Find(uint32_t slot, uint32_t generation) const;
  // The owner was given up before it was open; `token` is JavaScript's name for it.
  void Abandon(uint32_t token);

  void ReportProgress(uint32_t slot, uint64_t bytes_sent) {
    std::atomic_ref<uint32_t>(memory_.progress[slot]).store(Low(bytes_sent), std::memory_order_relaxed);
  }

  // The event rings of all reactors of the engine, by index: commands may pass on bytes of any of them.
  void SetPeers(const std::vector<std::unique_ptr<Reactor>>* peers) { peers_ = peers; }
  const uint8_t* BytesOf(uint32_t reactor, uint32_t place, uint32_t length) const {
    CHECK(reactor < peers_->size());
    return (*peers_)[reactor]->events_.Passed(place, length);
  }
  // Hands a frame over as it lies in a receive buffer. False where it does not, or enough of them are held.
  bool PushHeldFrame(uint32_t slot, const uint8_t* data, size_t length);

 private:
  struct Slot {
    OperationOwner* owner = nullptr;
    uint32_t generation = 0;
  };

  struct Held {
    uint32_t position = 0;  // in the event ring: released with it
    const uint8_t* bytes = nullptr;
  };

  struct OwnerName {
    uint32_t slot;
    uint32_t generation;
  };

  void TakeMail();
  bool HasStarved() const { return !starved_.empty() || !starved_of_blocks_.empty(); }
  void WakeStarved(std::deque<OwnerName>& starved, bool in_blocks);
  void TakeCommands();
  void TakeCommand(CommandKind kind, const uint32_t* words);
  void SettleLent();
  void Sleep();
  void ReapAndDispatch();
  void Dispatch(Completion& completion);
  void OnOwnCompletion(Completion& completion);
  void AdvanceWheel();
  void ReleaseHeld();
  void RunReady();
  void FlushDirty();
  void PublishEvents();
  void FreeClosed();
  void FinishTurn();
  void FinishStop();

  const uint32_t index_;
  const std::unique_ptr<Driver> driver_;
  const ReactorMemory memory_;
  const Doorbell doorbell_;
  const Clock clock_;
  EventRing events_;
  CommandRing commands_;
  Counters counters_;
  BufferPool pool_;
  HeapTrim heap_trim_;
  TimingWheel wheel_;
  Timerfd timerfd_;
  Fd wakefd_;
  uint64_t now_ms_ = 0;
  uint64_t late_ms_ = 0;
  uint32_t turn_ = 0;
  size_t chunk_bytes_ = 0;  // in this tick
  bool cut_short_ = false;

  std::vector<Slot> slots_;
  std::vector<uint32_t> free_slots_;
  size_t owner_count_ = 0;
  std::atomic<uint32_t> connections_{0};
  DescriptorTable descriptors_;

  IntrusiveList<OperationOwner, ByDirty> dirty_;
  IntrusiveList<OperationOwner, ByReady> ready_;
  std::vector<OperationOwner*> lent_;
  std::deque<Held> held_;          // frames in receive buffers, in the order of their events
  std::deque<OwnerName> starved_;  // in the order in which they found no buffer
  std::deque<OwnerName> starved_of_blocks_;
  std::vector<OperationOwner*> garbage_;
  std::vector<Completion> completions_;

  std::atomic<bool> wants_room_{false};
  std::atomic<bool> has_mail_{false};
  std::mutex mail_mutex_;
  std::vector<Mail> mail_;  // under mail_mutex_
  const std::vector<std::unique_ptr<Reactor>>* peers_ = nullptr;
  bool stopping_ = false;
  bool stop_gracefully_ = false;
  bool received_while_stopping_ = false;  // owners came by mail after Stop
  bool unwatching_ = false;               // no owner is left, the last two operations were asked to end
  bool stopped_ = false;
};

}  // namespace ringway
