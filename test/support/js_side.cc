#include "support/js_side.h"

#include <chrono>
#include <cstring>

#include "base/check.h"

namespace ringway::test {

namespace {
// Only a guard: a wake-up that is lost fails the test instead of hanging it.
constexpr std::chrono::seconds kLostWakeUp{20};
// More goes as a block instead of through the command ring.
constexpr size_t kCopyBytes = 16 * 1024;
}  // namespace

bool Doorbell::Wait() {
  std::unique_lock lock(mutex_);
  const bool rung = condition_.wait_for(lock, kLostWakeUp, [this] { return rung_; });
  rung_ = false;
  return rung;
}

JsSide::~JsSide() {
  for (const std::vector<uint32_t>& command : spilled_) {
    const auto* send = reinterpret_cast<const SendBlockCommand*>(command.data());
    if (command[0] >> 24 != static_cast<uint32_t>(CommandKind::kSendBlock)) continue;
    reinterpret_cast<Block*>(Join(send->block_low, send->block_high))->Unref();
  }
}

ReactorMemory JsSide::memory() {
  ReactorMemory memory;
  memory.events = {control_.data(), descriptors_.data(), bytes_.data(), kReceiveBytes};
  memory.commands = words_.data();
  memory.progress = progress_.data();
  return memory;
}

JsConnection* JsSide::AtSlot(uint32_t slot) const {
  const auto found = by_slot_.find(slot);
  return found == by_slot_.end() ? nullptr : found->second;
}

bool JsSide::HasEvents() const { return Control(ControlWord::kEventHead).load(std::memory_order_seq_cst) != tail_; }

size_t JsSide::Take(size_t budget, bool release) {
  const uint32_t head = Control(ControlWord::kEventHead).load(std::memory_order_seq_cst);
  size_t taken = 0;
  for (; tail_ != head && taken < budget; ++taken) {
    const Descriptor descriptor = descriptors_[tail_ & (kEventDescriptors - 1)];
    ++tail_;
    position_ = (descriptor.position + descriptor.length + 7) & ~7u;
    TakeOne(descriptor);
  }
  if (tail_ != head) {
    // The padding behind a frame may be the next one's.
    const uint32_t next = descriptors_[tail_ & (kEventDescriptors - 1)].position & ~7u;
    if (static_cast<int32_t>(position_ - next) > 0) position_ = next;
  }
  Control(ControlWord::kEventTail).store(tail_, std::memory_order_seq_cst);
  Publish();
  if (!release) return taken;
  if (passed_on_ || !releases_.empty()) {
    releases_.emplace_back(position_, command_head_);
  } else {
    Control(ControlWord::kBytesTail).store(position_, std::memory_order_seq_cst);
  }
  passed_on_ = false;
  ReleaseTaken();
  return taken;
}

void JsSide::ReleaseTaken() {
  const uint32_t tail = Control(ControlWord::kCommandTail).load(std::memory_order_seq_cst);
  while (!releases_.empty() && static_cast<int32_t>(tail - releases_.front().second) >= 0) {
    Control(ControlWord::kBytesTail).store(releases_.front().first, std::memory_order_seq_cst);
    releases_.pop_front();
  }
}

void JsSide::TakeOne(const Descriptor& descriptor) {
  switch (static_cast<EventKind>(descriptor.kind)) {
    case EventKind::kFrame:
      return TakeFrame(descriptor);
    case EventKind::kHeldFrame:
      return TakeHeldFrame(descriptor);
    case EventKind::kLargeFrame:
      return TakeLargeFrame(descriptor);
    case EventKind::kOpen:
      return TakeOpen(descriptor);
    case EventKind::kClose:
      return TakeClose(descriptor);
    case EventKind::kFault:
      return TakeFault(descriptor);
    case EventKind::kEnd:
      ++by_slot_.at(descriptor.slot)->ends;
      return;
    case EventKind::kDrain:
      ++by_slot_.at(descriptor.slot)->drains;
      return;
    case EventKind::kFinish:
      ++by_slot_.at(descriptor.slot)->finishes;
      return;
    case EventKind::kDetached: {
      JsConnection& connection = *by_slot_.at(descriptor.slot);
      connection.detached.push_back(Body<DetachedEvent>(descriptor));
      return;
    }
    case EventKind::kIdle:
      ++by_slot_.at(descriptor.slot)->idles;
      return;
    case EventKind::kListenerClosed:
      listeners_closed.push_back(descriptor.slot);
      return;
    case EventKind::kStopped:
      ++stopped;
      return;
  }
  CHECK(false && "an unknown event");
}

void JsSide::TakeFrame(const Descriptor& descriptor) {
  const uint32_t place = descriptor.position & (kEventBytes - 1);
  CHECK_LE(place + descriptor.length, kEventBytes);
  TakeFrameAt(descriptor.slot, place, descriptor.length);
}

void JsSide::TakeHeldFrame(const Descriptor& descriptor) {
  const auto event = Body<HeldFrameEvent>(descriptor);
  CHECK_LE(kEventBytes, event.place);
  CHECK_LE(size_t{event.place} + event.length, kEventBytes + kReceiveBytes);
  ++held_frames;
  TakeFrameAt(descriptor.slot, event.place, event.length);
}

void JsSide::TakeFrameAt(uint32_t slot, uint32_t place, uint32_t length) {
  JsConnection& connection = *by_slot_.at(slot);
  CHECK_EQ(connection.ends, 0);
  const std::string_view bytes(reinterpret_cast<const char*>(&bytes_[place]), length);
  ++frames;
  connection.bytes += bytes.size();
  if (on_frame) {
    on_frame({connection, bytes, place});
  } else {
    connection.frames.emplace_back(bytes);
  }
}

void JsSide::TakeLargeFrame(const Descriptor& descriptor) {
  JsConnection& connection = *by_slot_.at(descriptor.slot);
  const auto event = Body<LargeFrameEvent>(descriptor);
  auto* block = reinterpret_cast<Block*>(Join(event.block_low, event.block_high));
  if (block != nullptr) CHECK_LE(size_t{event.offset} + event.length, block->size());
  if (block == nullptr) landed.push_back(event.landing);
  const uint8_t* memory = block == nullptr ? landings.at(event.landing).get() : block->data() + event.offset;
  const std::string_view bytes(reinterpret_cast<const char*>(memory), event.length);
  ++frames;
  ++connection.large_frames;
  connection.bytes += bytes.size();
  if (on_frame) {
    on_frame({connection, bytes, 0, block, event.offset});
  } else {
    connection.frames.emplace_back(bytes);
  }
  if (block != nullptr) block->Unref();
}

void JsSide::TakeOpen(const Descriptor& descriptor) {
  OpenEvent event;
  std::memcpy(&event, At(descriptor.position), descriptor.length);
  CHECK(!by_slot_.contains(descriptor.slot));
  connections.push_back(std::make_unique<JsConnection>());
  JsConnection& connection = *connections.back();
  connection.slot = descriptor.slot;
  connection.generation = event.generation;
  connection.listener = event.listener;
  connection.token = event.token;
  connection.port = event.port;
  connection.address.assign(event.address, event.address_length);
  by_slot_[descriptor.slot] = &connection;
}

void JsSide::TakeClose(const Descriptor& descriptor) {
  const auto event = Body<CloseEvent>(descriptor);
  if (event.opened == 0) {
    unopened.push_back(event);
    return;
  }
  const auto found = by_slot_.find(descriptor.slot);
  CHECK(found != by_slot_.end());
  found->second->closed = true;
  found->second->close = event;
  by_slot_.erase(found);
}

void JsSide::TakeFault(const Descriptor& descriptor) {
  JsConnection& connection = *by_slot_.at(descriptor.slot);
  ++connection.faults;
  Close(connection, static_cast<CloseReason>(Body<FaultEvent>(descriptor).reason));
}

template <typename T>
T JsSide::Body(const Descriptor& descriptor) const {
  CHECK_EQ(descriptor.length, sizeof(T));
  T body;
  std::memcpy(&body, At(descriptor.position), sizeof body);
  return body;
}

// --- commands

void JsSide::Send(const JsConnection& to, std::string_view bytes) {
  if (bytes.size() > kCopyBytes) {
    Block* block = Block::Make(bytes.size());
    std::memcpy(block->data(), bytes.data(), bytes.size());
    return SendBlock(to, {}, block, 0, static_cast<uint32_t>(bytes.size()));
  }
  Write(Command(CommandKind::kSend, to, {static_cast<uint32_t>(bytes.size()), 0, 0, 0}, bytes));
}

void JsSide::SendReceived(const JsConnection& to, std::string_view header, uint32_t reactor, uint32_t place,
                          uint32_t length) {
  if (Place(Command(CommandKind::kSend, to, {static_cast<uint32_t>(header.size()), reactor, place, length}, header))) {
    passed_on_ = true;
    return;
  }
  // What waits with JavaScript holds its bytes: those in the ring may be gone by then.
  CHECK_EQ(reactor, reactor_);
  std::string bytes(header);
  bytes.append(reinterpret_cast<const char*>(&bytes_[place]), length);
  spilled_.push_back(Command(CommandKind::kSend, to, {static_cast<uint32_t>(bytes.size()), 0, 0, 0}, bytes));
}

void JsSide::SendBlock(const JsConnection& to, std::string_view header, Block* block, uint32_t offset,
                       uint32_t length) {
  const auto address = reinterpret_cast<uint64_t>(block);
  Write(Command(CommandKind::kSendBlock, to,
                {static_cast<uint32_t>(header.size()), Low(address), High(address), offset, length}, header));
}

void JsSide::SendPinned(const JsConnection& to, const uint8_t* bytes, uint32_t length) {
  const auto address = reinterpret_cast<uint64_t>(bytes);
  Write(Command(CommandKind::kSendPinned, to, {Low(address), High(address), length}, {}));
}

void JsSide::ScribbleCommands() {
  CHECK(CommandsTaken());
  std::fill_n(&words_[0], kCommandWords, 0xeeeeeeeeu);
}

void JsSide::Simple(CommandKind kind, const JsConnection& to, uint32_t argument) {
  Write(Command(kind, to, {argument}, {}));
}

std::vector<uint32_t> JsSide::Command(CommandKind kind, const JsConnection& to, const std::vector<uint32_t>& fields,
                                      std::string_view inline_bytes) {
  const size_t at = 3 + fields.size();
  std::vector<uint32_t> command(at + (inline_bytes.size() + 3) / 4);
  command[0] = static_cast<uint32_t>(command.size()) | static_cast<uint32_t>(kind) << 24;
  command[1] = to.slot;
  command[2] = to.generation;
  std::copy(fields.begin(), fields.end(), command.begin() + 3);
  if (!inline_bytes.empty()) std::memcpy(&command[at], inline_bytes.data(), inline_bytes.size());
  return command;
}

void JsSide::Write(const std::vector<uint32_t>& command) {
  if (!Place(command)) spilled_.push_back(command);
}

bool JsSide::Place(const std::vector<uint32_t>& command) {
  if (!spilled_.empty()) return false;
  const int64_t place = Reserve(static_cast<uint32_t>(command.size()));
  if (place < 0) return false;
  std::copy(command.begin(), command.end(), words_.data() + place);
  return true;
}

int64_t JsSide::Reserve(uint32_t words) {
  const uint32_t place = command_head_ & (kCommandWords - 1);
  const uint32_t to_end = kCommandWords - place;
  const uint32_t needed = to_end < words ? to_end + words : words;
  if (kCommandWords - (command_head_ - command_tail_) < needed) {
    command_tail_ = Control(ControlWord::kCommandTail).load(std::memory_order_seq_cst);
    if (kCommandWords - (command_head_ - command_tail_) < needed) return -1;
  }
  if (to_end < words) Wrap(place);
  const uint32_t start = command_head_ & (kCommandWords - 1);
  command_head_ += words;
  return start;
}

void JsSide::Wrap(uint32_t place) {
  const uint32_t rest = kCommandWords - place;
  words_[place] = rest | static_cast<uint32_t>(CommandKind::kWrap) << 24;
  command_head_ += rest;
}

void JsSide::Publish() {
  while (!spilled_.empty()) {
    const int64_t place = Reserve(static_cast<uint32_t>(spilled_.front().size()));
    if (place < 0) break;
    std::copy(spilled_.front().begin(), spilled_.front().end(), words_.data() + place);
    spilled_.pop_front();
  }
  Control(ControlWord::kCommandHead).store(command_head_, std::memory_order_seq_cst);
}

bool JsSide::CommandsTaken() const {
  return spilled_.empty() && Control(ControlWord::kCommandTail).load(std::memory_order_seq_cst) == command_head_;
}

}  // namespace ringway::test
