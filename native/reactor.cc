#include "reactor.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "buffer/block.h"

namespace ringway {

namespace {
// The reactor's own descriptors (eventfd, timerfd) are watched under slots that no owner has.
constexpr uint32_t kWakeSlot = UINT32_MAX;
constexpr uint32_t kTimerSlot = UINT32_MAX - 1;
// Reaped at once. A turn goes on until nothing is left or JavaScript has a full turn's work: what is reaped beyond that
// only fills the ring, and its connections have to be paused (relay 500 x 16).
constexpr size_t kReapBatch = 128;
constexpr int kReapRounds = 32;
// What is received in long chunks goes to JavaScript, and back to the kernel, while it lies in the cache: so many bytes
// at once, and so many completions while chunks come.
constexpr size_t kChunkBytesPerTick = 256 * 1024;
constexpr size_t kChunkReapBatch = 4;
// Of FinishSends: each sends up to 512 KB per connection, more than a kernel has room for in a few.
constexpr int kFinishRounds = 16;
// A timer this much late was not missed by the kernel or the wheel's granule: nobody called the reactor.
constexpr uint64_t kLatenessMs = 250;
}  // namespace

Reactor::Reactor(uint32_t index, std::unique_ptr<Driver> driver, const ReactorMemory& memory, Doorbell doorbell,
                 Clock clock)
    : index_(index),
      driver_(std::move(driver)),
      memory_(memory),
      doorbell_(std::move(doorbell)),
      clock_(clock),
      events_(memory.events),
      commands_(memory.events.control, memory.commands),
      wheel_(clock()),
      completions_(kReapBatch) {}

Reactor::~Reactor() { FreeClosed(); }

int Reactor::Start() {
  driver_->OfferReceiveMemory(events_.ReceiveMemory());
  if (const int error = driver_->Start(); error < 0) return error;
  if (const int error = timerfd_.Open(); error < 0) return error;
  wakefd_.Reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wakefd_.Valid()) return -errno;
  driver_->Watch({kWakeSlot, 0, Op::kWatch}, wakefd_.Get());
  driver_->Watch({kTimerSlot, 0, Op::kWatch}, timerfd_.fd());
  driver_->Submit();
  now_ms_ = clock_();
  return 0;
}

void Reactor::Tick(bool may_block) {
  ++turn_;
  // Between two calls from somebody else's loop any time may have passed: what commands and mail start counts from now.
  if (!may_block) now_ms_ = clock_();
  TakeCommands();
  TakeMail();
  FlushDirty();
  FinishTurn();
  if (may_block) {
    Sleep();
  } else {
    driver_->Submit();
  }
  if (may_block) now_ms_ = clock_();
  // Once more: what was asked for while we slept (a pause) comes before what was received meanwhile.
  if (may_block) TakeCommands();
  ReleaseHeld();
  ReapAndDispatch();
  AdvanceWheel();
  heap_trim_.Look(Block::BytesInUse(), now_ms_);
  RunReady();
  WakeStarved(starved_, false);
  WakeStarved(starved_of_blocks_, true);
  FlushDirty();
  FinishTurn();
  if (stopping_) FinishStop();
}

// Before every sleep: what happened since the last one is freed, told and timed. In this order: who hears of a close
// finds the connection no longer counted.
void Reactor::FinishTurn() {
  FreeClosed();
  PublishEvents();
  timerfd_.ArmAt(wheel_.NextDeadline());
}

void Reactor::RunCommands() {
  // Before each sleep of Node's loop, most often just behind a tick: nothing is left then, and no need to know the
  // time.
  if (!commands_.Empty() || !dirty_.IsEmpty() || has_mail_.load(std::memory_order_relaxed)) {
    now_ms_ = clock_();
    TakeCommands();
    TakeMail();
    FlushDirty();
  }
  driver_->Submit();
  FinishTurn();
}

void Reactor::SendNow(uint32_t slot, uint32_t generation, std::span<const uint8_t> bytes, bool keep) {
  now_ms_ = clock_();
  TakeCommands();
  if (OperationOwner* owner = Find(slot, generation)) owner->SendNow(bytes, keep);
}

// A send in flight may be over without our having looked, and what stands behind it has not been tried yet.
void Reactor::FinishSends() {
  RunCommands();
  for (int round = 0; round < kFinishRounds && HasWork(); ++round) Tick(false);
  RunCommands();
}

bool Reactor::PushHeldFrame(uint32_t slot, const uint8_t* data, size_t length) {
  if (!events_.IsReceiveMemory(data) || !driver_->Hold(data)) return false;
  held_.push_back({events_.PushHeldFrame(slot, data, length), data});
  return true;
}

// What JavaScript, and the sends it gave them to, have done with goes back to the kernel.
void Reactor::ReleaseHeld() {
  if (held_.empty() || !events_.HasReleased(held_.front().position)) return;
  for (; !held_.empty() && events_.HasReleased(held_.front().position); held_.pop_front()) {
    driver_->Release(held_.front().bytes);
  }
  driver_->EndDispatch();
}

bool Reactor::MayTakeChunks() const { return chunk_bytes_ < kChunkBytesPerTick; }

bool Reactor::HasWork() {
  return driver_->HasReady() || !commands_.Empty() || !dirty_.IsEmpty() || HasStarved() ||
         has_mail_.load(std::memory_order_seq_cst) || events_.CanFlushOverflow() ||
         (!ready_.IsEmpty() && events_.HasRoomForFrame(limits::inline_frame_bytes));
}

void Reactor::Run() {
  while (!stopped_) Tick(true);
}

// The flag is raised before the last look: whoever publishes afterwards sees it and rings.
void Reactor::Sleep() {
  auto sleeping = events_.Control(ControlWord::kReactorSleeping);
  sleeping.store(1, std::memory_order_seq_cst);
  if (!ready_.IsEmpty() || events_.HasOverflow()) wants_room_.store(true, std::memory_order_seq_cst);
  // The last step of stopping has no cause in the kernel; all before it have (a completion, a deadline).
  const bool stops_now = stopping_ && owner_count_ == 0 && !unwatching_;
  if (stops_now || HasWork()) {
    driver_->Submit();
  } else {
    driver_->Wait();
  }
  sleeping.store(0, std::memory_order_relaxed);
}

void Reactor::Wake() {
  const uint64_t one = 1;
  // EAGAIN means that the counter is full: it is readable then.
  while (::write(wakefd_.Get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
}

void Reactor::NotifyCommands() {
  if (events_.Control(ControlWord::kReactorSleeping).exchange(0, std::memory_order_seq_cst) != 0) Wake();
}

void Reactor::Post(Mail mail) {
  {
    const std::lock_guard lock(mail_mutex_);
    mail_.push_back(std::move(mail));
  }
  has_mail_.store(true, std::memory_order_seq_cst);
  Wake();
}

void Reactor::TakeMail() {
  if (!has_mail_.exchange(false, std::memory_order_seq_cst)) return;
  std::vector<Mail> mail;
  {
    const std::lock_guard lock(mail_mutex_);
    mail.swap(mail_);
  }
  for (Mail& letter : mail) letter(*this);
}

void Reactor::TakeCommands() {
  commands_.TakeAll([this](CommandKind kind, const uint32_t* words) { TakeCommand(kind, words); },
                    [this] { SettleLent(); });
}

void Reactor::TakeCommand(CommandKind kind, const uint32_t* words) {
  const uint32_t slot = words[1];
  if (slot < slots_.size() && slots_[slot].owner != nullptr && slots_[slot].generation == words[2]) {
    slots_[slot].owner->OnCommand(kind, words);
    return;
  }
  counters_.Add(Counter::kStaleCommands);
  if (kind == CommandKind::kSendBlock) {
    const auto* send = reinterpret_cast<const SendBlockCommand*>(words);
    reinterpret_cast<Block*>(Join(send->block_low, send->block_high))->Unref();
  }
}

// Owners that ended meanwhile are freed later, in FinishTurn.
void Reactor::SettleLent() {
  for (OperationOwner* owner : lent_) owner->SettleLent();
  lent_.clear();
}

void Reactor::ReapAndDispatch() {
  const size_t most = chunk_bytes_ > 0 && driver_->ReceivesAtTake() ? kChunkReapBatch : kReapBatch;
  const int rounds = kReapRounds * static_cast<int>(kReapBatch / most);
  chunk_bytes_ = 0;
  cut_short_ = false;
  for (int round = 0; round < rounds; ++round) {
    const size_t count = driver_->Reap(std::span(completions_).first(most));
    for (size_t i = 0; i < count; ++i) Dispatch(completions_[i]);
    driver_->EndDispatch();
    if (driver_->HasSequel()) continue;
    if (count < most || events_.Pending() >= limits::drain_frames) break;
    if (most == kChunkReapBatch && !MayTakeChunks()) {
      cut_short_ = true;
      break;
    }
  }
}

void Reactor::Dispatch(Completion& completion) {
  const UserData data = completion.data;
  if (data.slot < slots_.size()) [[likely]] {
    const Slot& slot = slots_[data.slot];
    if (slot.owner != nullptr && (slot.generation & UserData::kGenerationMask) == data.generation) [[likely]] {
      slot.owner->OnCompletion(completion);
      return;
    }
  } else if (data.slot >= kTimerSlot) {
    OnOwnCompletion(completion);
    return;
  }
  counters_.Add(Counter::kStaleCompletions);
  if (completion.has_data) driver_->Take(completion);
  if (data.op == Op::kAccept && completion.result >= 0) ::close(completion.result);
}

void Reactor::OnOwnCompletion(Completion& completion) {
  const bool is_timer = completion.data.slot == kTimerSlot;
  const int fd = is_timer ? timerfd_.fd() : wakefd_.Get();
  if (is_timer) {
    timerfd_.Drain();
  } else {
    uint64_t count;
    [[maybe_unused]] const ssize_t n = ::read(fd, &count, sizeof count);
  }
  if (!completion.more && !unwatching_) driver_->Watch(completion.data, fd);
}

void Reactor::AdvanceWheel() {
  const uint64_t due = wheel_.NextDeadline();
  late_ms_ = due != TimingWheel::kNever && now_ms_ > due + kLatenessMs ? now_ms_ - due : 0;
  wheel_.Advance(now_ms_, [this](TimerNode& node) { static_cast<OperationOwner&>(node).OnTimer(now_ms_); });
}

void Reactor::RunReady() {
  if (ready_.IsEmpty()) return;
  IntrusiveList<OperationOwner, ByReady> now;
  now.Splice(ready_);
  while (OperationOwner* owner = now.PopFront()) owner->Resume();
}

// A crowd (10,000 connections, all with bytes) finds too few buffers. If all of them started their receives again at
// once, all but a few would fail once more, each time: six per message, at 9,000 connections of one request each.
void Reactor::WakeStarved(std::deque<OwnerName>& starved, bool in_blocks) {
  if (starved.empty()) return;
  for (size_t budget = driver_->FreeReceiveBuffers(in_blocks); budget > 0 && !starved.empty();) {
    const OwnerName name = starved.front();
    starved.pop_front();
    OperationOwner* owner = Find(name.slot, name.generation);
    if (owner != nullptr && owner->RestartReceive()) --budget;
  }
}

void Reactor::FlushDirty() {
  while (OperationOwner* owner = dirty_.PopFront()) owner->Flush();
}

void Reactor::PublishEvents() {
  if (!events_.Flush()) return;
  if (events_.Control(ControlWord::kJsSleeping).exchange(0, std::memory_order_seq_cst) != 0) doorbell_();
}

void Reactor::FreeClosed() {
  for (OperationOwner* owner : garbage_) delete owner;
  garbage_.clear();
}

void Reactor::Register(OperationOwner& owner) {
  uint32_t slot;
  if (free_slots_.empty()) {
    slot = static_cast<uint32_t>(slots_.size());
    CHECK(slot < kSlots);
    slots_.emplace_back();
  } else {
    slot = free_slots_.back();
    free_slots_.pop_back();
  }
  owner.slot_ = slot;
  owner.generation_ = slots_[slot].generation;
  slots_[slot].owner = &owner;
  ++owner_count_;
  if (stopping_) received_while_stopping_ = true;
}

void Reactor::Unregister(OperationOwner& owner) {
  Slot& slot = slots_[owner.slot_];
  CHECK(slot.owner == &owner);
  slot.owner = nullptr;
  slot.generation = (slot.generation + 1) & UserData::kGenerationMask;
  free_slots_.push_back(owner.slot_);
  --owner_count_;
  wheel_.Cancel(owner);
  static_cast<ListNode<ByDirty>&>(owner).Unlink();
  static_cast<ListNode<ByReady>&>(owner).Unlink();
}

void Reactor::MarkDirty(OperationOwner& owner) {
  if (!static_cast<ListNode<ByDirty>&>(owner).IsLinked()) dirty_.PushBack(owner);
}

void Reactor::MarkReady(OperationOwner& owner) {
  if (!static_cast<ListNode<ByReady>&>(owner).IsLinked()) ready_.PushBack(owner);
}

OperationOwner* Reactor::Find(uint32_t slot, uint32_t generation) const {
  return slot < slots_.size() && slots_[slot].generation == generation ? slots_[slot].owner : nullptr;
}

uint64_t Reactor::ConnectionsOfAll() const {
  uint64_t sum = 0;
  if (peers_ == nullptr) {
    sum = connections_.load(std::memory_order_relaxed);
  } else {
    for (const std::unique_ptr<Reactor>& peer : *peers_) sum += peer->connections_.load(std::memory_order_relaxed);
  }
  return std::max<uint64_t>(sum, 1);
}

void Reactor::Abandon(uint32_t token) {
  for (const Slot& slot : slots_) {
    if (slot.owner != nullptr) slot.owner->OnAbandoned(token);
  }
}

void Reactor::Stop(bool graceful) {
  stopping_ = true;
  stop_gracefully_ = graceful;
  for (size_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot].owner != nullptr) slots_[slot].owner->Shut(graceful);
  }
}

void Reactor::FinishStop() {
  if (stopped_ || has_mail_.load(std::memory_order_seq_cst)) return;
  if (owner_count_ > 0) {
    if (received_while_stopping_) Stop(stop_gracefully_);
    received_while_stopping_ = false;
    return;
  }
  if (!unwatching_) {
    unwatching_ = true;
    driver_->Cancel({kWakeSlot, 0, Op::kWatch}, wakefd_.Get());
    driver_->Cancel({kTimerSlot, 0, Op::kWatch}, timerfd_.fd());
  }
  if (driver_->InFlight() > 0) return;
  stopped_ = true;
  events_.Push(EventKind::kStopped, index_);
  PublishEvents();
}

void Reactor::DropUntaken() {
  {
    const std::lock_guard lock(mail_mutex_);
    mail_.clear();
  }
  CHECK_EQ(owner_count_, 0u);
  TakeCommands();
  events_.DropLargeFrames([](const LargeFrameEvent& event) {
    if (auto* block = reinterpret_cast<Block*>(Join(event.block_low, event.block_high))) block->Unref();
  });
}

}  // namespace ringway
