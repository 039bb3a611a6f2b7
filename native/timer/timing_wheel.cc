#include "timer/timing_wheel.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace ringway {

namespace {

void MakeEmptyList(TimerNode& head) { head.prev = head.next = &head; }

void LinkLast(TimerNode& head, TimerNode& node) {
  node.prev = head.prev;
  node.next = &head;
  head.prev->next = &node;
  head.prev = &node;
}

}  // namespace

TimingWheel::TimingWheel(uint64_t now_ms, uint32_t granule_ms)
    : granule_shift_(static_cast<uint32_t>(std::countr_zero(granule_ms))), current_tick_(now_ms >> granule_shift_) {
  CHECK(std::has_single_bit(granule_ms));
  for (TimerNode& head : lists_) MakeEmptyList(head);
}

void TimingWheel::Arm(TimerNode& node, uint64_t deadline_ms) {
  Cancel(node);
  node.deadline_ms = deadline_ms;
  if (deadline_ms == kNever) return;
  Insert(node, std::max(DeadlineTick(deadline_ms), current_tick_ + 1));
  ++size_;
}

void TimingWheel::Cancel(TimerNode& node) {
  if (!node.armed()) return;
  Unlink(node);
  --size_;
}

uint64_t TimingWheel::NextDeadline() const {
  const uint64_t tick = NextEventTick();
  return tick > (kNever >> granule_shift_) ? kNever : tick << granule_shift_;
}

uint64_t TimingWheel::DeadlineTick(uint64_t deadline_ms) const {
  const uint64_t granule_mask = (uint64_t{1} << granule_shift_) - 1;
  return (deadline_ms >> granule_shift_) + ((deadline_ms & granule_mask) != 0 ? 1 : 0);
}

// Each level's next occupied slot, counted from the slot behind the current one: the current one comes round last. Its
// number on that level, scaled, is the tick at which it fires or is dealt out.
uint64_t TimingWheel::NextEventTick() const {
  uint64_t earliest = kNever;
  for (uint32_t level = 0; level < kLevels; ++level) {
    if (occupied_[level] == 0) continue;
    const uint32_t shift = level * kSlotBits;
    const uint64_t next = (current_tick_ >> shift) + 1;
    const uint64_t ahead = std::rotr(occupied_[level], static_cast<int>(next & kSlotMask));
    earliest = std::min(earliest, (next + static_cast<uint64_t>(std::countr_zero(ahead))) << shift);
  }
  return earliest;
}

void TimingWheel::Insert(TimerNode& node, uint64_t tick) {
  const uint64_t ahead = std::min(tick - current_tick_, kHorizonTicks - 1);
  const uint32_t level = ahead < kSlots ? 0 : static_cast<uint32_t>(std::bit_width(ahead) - 1) / kSlotBits;
  const uint64_t slot = ((current_tick_ + ahead) >> (level * kSlotBits)) & kSlotMask;
  LinkLast(lists_[level * kSlots + slot], node);
  occupied_[level] |= uint64_t{1} << slot;
}

// The only node of a list has the list's head on both sides, and the head's place in the array names its slot.
void TimingWheel::Unlink(TimerNode& node) {
  node.prev->next = node.next;
  node.next->prev = node.prev;
  if (node.prev == node.next) {
    const auto list = static_cast<uint32_t>(node.prev - lists_.data());
    if (list < kFiring) occupied_[list / kSlots] &= ~(uint64_t{1} << (list % kSlots));
  }
  node.prev = node.next = nullptr;
}

// Insert deals each node straight to its level, level 0 when it is due at this very tick, before the firing slot is
// read.
void TimingWheel::StepTo(uint64_t tick) {
  current_tick_ = tick;
  for (uint32_t level = kLevels - 1; level > 0; --level) {
    const uint64_t finer_ticks = (uint64_t{1} << (level * kSlotBits)) - 1;
    if ((tick & finer_ticks) == 0) DealOut(level);
  }
  TimerNode& due = lists_[tick & kSlotMask];
  while (due.next != &due) {
    TimerNode& node = *due.next;
    Unlink(node);
    LinkLast(lists_[kFiring], node);
  }
}

void TimingWheel::DealOut(uint32_t level) {
  const uint64_t slot = (current_tick_ >> (level * kSlotBits)) & kSlotMask;
  TimerNode& head = lists_[level * kSlots + slot];
  if (head.next == &head) return;
  // Detached as a whole first: a node beyond the horizon goes back into the very same slot.
  TimerNode* node = head.next;
  head.prev->next = nullptr;
  MakeEmptyList(head);
  occupied_[level] &= ~(uint64_t{1} << slot);
  while (node != nullptr) {
    TimerNode* next = node->next;
    const uint64_t tick = DeadlineTick(node->deadline_ms);
    DCHECK_LE(current_tick_, tick);
    Insert(*node, tick);
    node = next;
  }
}

TimerNode* TimingWheel::TakeFiring() {
  TimerNode& head = lists_[kFiring];
  if (head.next == &head) return nullptr;
  TimerNode* node = head.next;
  Unlink(*node);
  --size_;
  return node;
}

}  // namespace ringway
