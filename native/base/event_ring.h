// Events on their way up to JavaScript. Thread rule: all methods belong to the reactor's thread; JavaScript is the only
// consumer and reaches the same memory through typed arrays.
//
//   bytes:   ……|############|……………………|      used = head - max(tail, floor)
//               tail (JS)    head
//   When everything is consumed the next frame begins at the ring's start again (floor = head = a multiple of the
//   size), so that a lightly used ring stays within the same few cache lines instead of walking through a megabyte.
//
// Invariant: descriptors are published (kEventHead, release) only after their bytes were written.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <deque>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/shared_layout.h"
#include "base/tables.gen.h"

namespace ringway {

class EventRing {
 public:
  struct Memory {
    uint32_t* control = nullptr;        // ControlWord::kWords
    Descriptor* descriptors = nullptr;  // kEventDescriptors
    uint8_t* bytes = nullptr;           // kEventBytes, and receive_bytes behind them
    size_t receive_bytes = 0;
  };

  explicit EventRing(const Memory& memory) : memory_(memory) {}
  EventRing(const EventRing&) = delete;
  EventRing& operator=(const EventRing&) = delete;

  // Frames leave the last descriptors and bytes to the events that must always get through.
  bool HasRoomForFrame(size_t length) const {
    return overflow_.empty() && FreeDescriptors() > kReservedDescriptors &&
           FreeBytes() >= Padded(length) * 2 + kReservedBytes && LargeFrameBytes() < limits::large_frame_bytes;
  }

  // As many frames have room, if they all lie in so many bytes, without HasRoomForFrame being asked before each; 0:
  // ask. Each has a byte there at least and at most 7 of padding here, and one skips the ring's end.
  uint32_t FramesWithRoom(size_t bytes) const {
    const uint32_t free = FreeDescriptors();
    if (bytes > limits::inline_frame_bytes || free <= kReservedDescriptors || !overflow_.empty()) return 0;
    const uint32_t frames = std::min(free - kReservedDescriptors, static_cast<uint32_t>(bytes));
    return FreeBytes() >= 2 * Padded(bytes) + 7 * frames + kReservedBytes ? frames : 0;
  }

  void PushFrame(uint32_t slot, const uint8_t* data, size_t length) {
    const uint32_t position = Reserve(length);
    std::memcpy(memory_.bytes + (position & (kEventBytes - 1)), data, length);
    Publish({static_cast<uint32_t>(EventKind::kFrame), slot, position, static_cast<uint32_t>(length)});
  }

  // Bytes can be received where frames are pushed to, and the frames in them need no copy:
  //
  //   bytes:   …|####|hdr|frame|hdr|frame|hdr|fra…                    |
  //                  ^RoomToReceive               ^end of what came
  //                                     ^bytes_head_ after EndReceived, rounded up: the rest was copied elsewhere
  //
  // Room for `most` bytes, which nothing else is written to before BeginReceived; empty where there is too little.
  std::span<uint8_t> RoomToReceive(size_t most) {
    // Twice: the frames in it are to find room, too.
    if (!HasRoomForFrame(2 * most)) return {};
    received_ = PlaceFor(static_cast<uint32_t>(most));
    return {memory_.bytes + (received_ & (kEventBytes - 1)), most};
  }
  // So many bytes came into it.
  void BeginReceived(size_t length) {
    before_received_ = bytes_head_;
    received_length_ = static_cast<uint32_t>(length);
    framed_ = false;
    framed_end_ = 0;
    bytes_head_ = received_ + Padded(length);
  }
  // An empty frame may stand at their end.
  bool HoldsReceived(const uint8_t* data) const {
    return received_length_ > 0 && static_cast<size_t>(data - BytesAt(received_)) <= received_length_;
  }
  void PushFrameInPlace(uint32_t slot, const uint8_t* data, size_t length) {
    const auto offset = static_cast<uint32_t>(data - BytesAt(received_));
    DCHECK(offset >= framed_end_ && offset + length <= received_length_);
    framed_ = true;
    framed_end_ = offset + static_cast<uint32_t>(length);
    Publish({static_cast<uint32_t>(EventKind::kFrame), slot, received_ + offset, static_cast<uint32_t>(length)});
  }
  // What is not in a frame is needed no more. No published position lies behind the head, not an empty frame's either.
  void EndReceived() {
    if (bytes_head_ == received_ + Padded(received_length_)) {
      bytes_head_ = framed_ ? received_ + Padded(framed_end_) : before_received_;
    }
    received_length_ = 0;
  }

  // What a driver may receive into, so that long frames are handed over as they lie.
  std::span<uint8_t> ReceiveMemory() const { return {memory_.bytes + kEventBytes, memory_.receive_bytes}; }
  bool IsReceiveMemory(const uint8_t* data) const {
    return static_cast<size_t>(data - memory_.bytes) - kEventBytes < memory_.receive_bytes;
  }
  // A frame in it, where there is room for a frame. Answers the position up to which HasReleased says when JavaScript,
  // and whoever it passed the frame on to, looks at it no more.
  uint32_t PushHeldFrame(uint32_t slot, const uint8_t* data, size_t length) {
    DCHECK(overflow_.empty() && IsReceiveMemory(data));
    const HeldFrameEvent event{static_cast<uint32_t>(data - memory_.bytes), static_cast<uint32_t>(length)};
    Write(EventKind::kHeldFrame, slot, {reinterpret_cast<const uint8_t*>(&event), sizeof event});
    return bytes_head_;
  }
  bool HasReleased(uint32_t position) const {
    const uint32_t tail = Control(ControlWord::kBytesTail).load(std::memory_order_seq_cst);
    return static_cast<int32_t>(tail - position) >= 0;
  }

  // More bytes of the frame that was pushed last: where that is this slot's, is not published yet, has room behind it
  // and stays within `most`. False: push a frame of its own.
  bool ExtendFrame(uint32_t slot, const uint8_t* data, size_t length, size_t most) {
    if (head_ == published_) return false;
    Descriptor& last = memory_.descriptors[(head_ - 1) & (kEventDescriptors - 1)];
    if (last.kind != static_cast<uint32_t>(EventKind::kFrame) || last.slot != slot || last.length + length > most) {
      return false;
    }
    const uint32_t place = (last.position & (kEventBytes - 1)) + last.length;
    if (place + length > kEventBytes) return false;
    std::memcpy(memory_.bytes + place, data, length);
    last.length += static_cast<uint32_t>(length);
    bytes_head_ = last.position + Padded(last.length);
    DCHECK(UsedBytes() <= kEventBytes);
    return true;
  }

  // An event other than a frame: never refused. What finds no room waits in memory, in order, for Flush.
  void Push(EventKind kind, uint32_t slot, std::span<const uint8_t> body = {}) {
    if (overflow_.empty() && FreeDescriptors() > 0 && FreeBytes() >= Padded(body.size()) * 2) {
      Write(kind, slot, body);
    } else {
      overflow_.push_back({kind, slot, std::vector<uint8_t>(body.begin(), body.end())});
    }
  }

  // A frame beside the ring. Its block is JavaScript's once it took the event, and ours until then.
  void PushLargeFrame(uint32_t slot, const LargeFrameEvent& event) {
    large_bytes_ += event.length;
    Push(EventKind::kLargeFrame, slot, {reinterpret_cast<const uint8_t*>(&event), sizeof event});
  }

  // JavaScript takes no more: calls free(event) for each large frame that it has not taken.
  template <typename Free>
  void DropLargeFrames(Free&& free) {
    ForgetTaken();
    for (const LargeFrame& frame : large_) free(frame.event);
    for (const Waiting& waiting : overflow_) {
      if (waiting.kind != EventKind::kLargeFrame) continue;
      LargeFrameEvent event;
      std::memcpy(&event, waiting.body.data(), sizeof event);
      free(event);
    }
    large_.clear();
    overflow_.clear();
    large_bytes_ = 0;
  }

  // Makes what was pushed visible. Answers whether JavaScript has anything to take.
  bool Flush() {
    while (CanFlushOverflow()) {
      const Waiting& waiting = overflow_.front();
      Write(waiting.kind, waiting.slot, waiting.body);
      overflow_.pop_front();
    }
    Control(ControlWord::kEventHead).store(head_, std::memory_order_release);
    published_ = head_;
    return head_ != EventTail();
  }

  // Events that JavaScript has not taken, published or not.
  uint32_t Pending() const { return head_ - Control(ControlWord::kEventTail).load(std::memory_order_relaxed); }

  bool HasOverflow() const { return !overflow_.empty(); }
  size_t waiting_events() const { return overflow_.size(); }
  bool CanFlushOverflow() const {
    return !overflow_.empty() && FreeDescriptors() > 0 && FreeBytes() >= Padded(overflow_.front().body.size()) * 2;
  }

  // Shared bytes; for commands that pass on what was received.
  const uint8_t* Passed(uint32_t place, uint32_t length) const {
    CHECK_LE(uint64_t{place} + length, kEventBytes + memory_.receive_bytes);
    return memory_.bytes + place;
  }

  // Both sides run on one thread and everything was consumed, commands included: the bytes are free at once, and the
  // next descriptor stands at the ring's start, so that a turn's few stay in the cache.
  void StartOver() {
    CHECK_EQ(head_, EventTail());
    Control(ControlWord::kBytesTail).store(bytes_head_, std::memory_order_relaxed);
    head_ = (head_ + kEventDescriptors - 1) & ~(kEventDescriptors - 1);
    Control(ControlWord::kEventTail).store(head_, std::memory_order_relaxed);
    Control(ControlWord::kEventHead).store(head_, std::memory_order_relaxed);
    published_ = head_;
  }

  std::atomic_ref<uint32_t> Control(ControlWord word) const {
    return std::atomic_ref<uint32_t>(memory_.control[static_cast<uint32_t>(word)]);
  }

 private:
  struct Waiting {
    EventKind kind;
    uint32_t slot;
    std::vector<uint8_t> body;
  };
  struct LargeFrame {
    uint32_t descriptor;
    LargeFrameEvent event;
  };

  const uint8_t* BytesAt(uint32_t position) const { return memory_.bytes + (position & (kEventBytes - 1)); }

  static constexpr uint32_t Padded(size_t length) { return (static_cast<uint32_t>(length) + 7) & ~7u; }

  // Sequentially consistent, both tails: a reactor that goes to sleep for want of room says so first and looks after
  // it.
  uint32_t EventTail() const { return Control(ControlWord::kEventTail).load(std::memory_order_seq_cst); }
  uint32_t FreeDescriptors() const { return kEventDescriptors - (head_ - EventTail()); }

  uint64_t LargeFrameBytes() const {
    if (!large_.empty()) ForgetTaken();
    return large_bytes_;
  }
  void ForgetTaken() const {
    const uint32_t tail = EventTail();
    while (!large_.empty() && static_cast<int32_t>(tail - large_.front().descriptor) > 0) {
      large_bytes_ -= large_.front().event.length;
      large_.pop_front();
    }
  }

  uint32_t UsedBytes() const {
    const uint32_t tail = Control(ControlWord::kBytesTail).load(std::memory_order_seq_cst);
    const uint32_t since_tail = bytes_head_ - tail;
    // The floor follows the tail, or it would be 4 GiB behind one day and seem to be ahead.
    if (since_tail < bytes_head_ - floor_) floor_ = tail;
    return bytes_head_ - floor_;
  }
  uint32_t FreeBytes() const { return kEventBytes - UsedBytes(); }

  // A contiguous place: skips the ring's end when the bytes would not fit before it.
  uint32_t PlaceFor(uint32_t size) {
    // Behind what is not published yet nothing was consumed.
    if (head_ == published_ && UsedBytes() == 0) {
      bytes_head_ = (bytes_head_ + kEventBytes - 1) & ~(kEventBytes - 1);
      floor_ = bytes_head_;
    }
    const uint32_t to_end = kEventBytes - (bytes_head_ & (kEventBytes - 1));
    return to_end < size ? bytes_head_ + to_end : bytes_head_;
  }

  uint32_t Reserve(size_t length) {
    const uint32_t size = Padded(length);
    const uint32_t position = PlaceFor(size);
    bytes_head_ = position + size;
    DCHECK(UsedBytes() <= kEventBytes);
    return position;
  }

  void Write(EventKind kind, uint32_t slot, std::span<const uint8_t> body) {
    const uint32_t position = Reserve(body.size());
    if (kind == EventKind::kLargeFrame) {
      LargeFrame& frame = large_.emplace_back(LargeFrame{head_, {}});
      std::memcpy(&frame.event, body.data(), sizeof frame.event);
    }
    if (!body.empty()) std::memcpy(memory_.bytes + (position & (kEventBytes - 1)), body.data(), body.size());
    Publish({static_cast<uint32_t>(kind), slot, position, static_cast<uint32_t>(body.size())});
  }

  void Publish(const Descriptor& descriptor) {
    memory_.descriptors[head_ & (kEventDescriptors - 1)] = descriptor;
    ++head_;
  }

  const Memory memory_;
  uint32_t head_ = 0;
  uint32_t published_ = 0;  // head_ as JavaScript knows it
  uint32_t bytes_head_ = 0;
  mutable uint32_t floor_ = 0;  // nothing before it is in use
  // Of the bytes that are being framed where they were received: position, length (0: none are), the end of the last
  // frame in them, and bytes_head_ before they came.
  uint32_t received_ = 0;
  uint32_t received_length_ = 0;
  uint32_t framed_end_ = 0;
  bool framed_ = false;
  uint32_t before_received_ = 0;
  std::deque<Waiting> overflow_;
  mutable std::deque<LargeFrame> large_;  // in the ring, not taken when we last looked
  mutable uint64_t large_bytes_ = 0;      // of these and of those in overflow_
};

}  // namespace ringway
