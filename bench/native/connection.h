// One connection of the load generator: its requests in flight, and the answer that is arriving.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "outbox.h"

namespace ringway::bench {

// A request in flight.
struct Slot {
  uint64_t due_ns = 0;  // when it was sent; in an open loop, when it was to be sent
  uint32_t sequence = 0;
  uint32_t partials = 0;
  bool busy = false;
};

// Requests in flight of one connection. For answers in order a slot is found by sequence. For RMP its number is the low
// half of the id, and the id's upper half the sequence's lower one, so that an answer given twice is told from the next
// one's.
class InFlight {
 public:
  bool empty() const { return count_ == 0; }
  uint32_t count() const { return count_; }

  uint32_t Add(uint32_t sequence, uint64_t due_ns, bool in_order) {
    const uint32_t slot = in_order ? InOrderSlot(sequence) : FreeSlot();
    slots_[slot] = {due_ns, sequence, 0, true};
    ++count_;
    return slot;
  }

  void Remove(uint32_t slot, bool in_order) {
    slots_[slot].busy = false;
    --count_;
    if (!in_order) free_.push_back(slot);
  }

  // Null when no request is in flight there.
  Slot* At(uint32_t slot) { return slot < slots_.size() && slots_[slot].busy ? &slots_[slot] : nullptr; }
  uint32_t SlotOf(uint32_t sequence) const { return sequence & (static_cast<uint32_t>(slots_.size()) - 1); }

 private:
  uint32_t InOrderSlot(uint32_t sequence) {
    if (slots_.empty() || slots_[SlotOf(sequence)].busy) Double();
    return SlotOf(sequence);
  }

  // Sequences in flight follow each other: twice the slots have a place for each.
  void Double() {
    std::vector<Slot> doubled(slots_.empty() ? 1 : slots_.size() * 2);
    for (const Slot& slot : slots_) doubled[slot.sequence & (doubled.size() - 1)] = slot;
    slots_ = std::move(doubled);
  }

  uint32_t FreeSlot() {
    if (free_.empty()) {
      slots_.emplace_back();
      return static_cast<uint32_t>(slots_.size() - 1);
    }
    const uint32_t slot = free_.back();
    free_.pop_back();
    return slot;
  }

  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
  uint32_t count_ = 0;
};

// What has been seen of the frame that is arriving; it is checked piece by piece and never kept.
struct Incoming {
  enum class Kind : uint8_t { kAnswer, kPartial, kFailure, kCancelled, kPing, kIgnored };

  std::array<uint8_t, 16> header;
  uint8_t header_bytes = 0;
  bool started = false;  // the header is whole, and what follows is filled in
  bool right = true;
  Kind kind = Kind::kIgnored;
  uint8_t tag_bytes = 0;
  uint32_t slot = 0;
  uint32_t status = 0;
  size_t size = 0;  // of the payload
  size_t at = 0;
  std::array<uint8_t, 12> tag;       // what the payload must begin with
  const uint8_t* stretch = nullptr;  // what must follow
};

struct Connection {
  int fd = -1;
  uint32_t index = 0;
  bool connecting = false;
  uint32_t next_sequence = 0;
  uint32_t next_answer = 0;
  InFlight in_flight;
  Incoming incoming;
  std::unique_ptr<Outbox> unsent;                 // what the socket did not take
  std::unique_ptr<std::deque<uint64_t>> waiting;  // an open loop's requests beyond --depth: when each was to be sent
  std::vector<uint8_t> ping;                      // payload of the ping that is arriving
  uint64_t opened_ns = 0;

  bool HasUnsent() const { return unsent != nullptr && !unsent->empty(); }
};

}  // namespace ringway::bench
