// Deadlines of one reactor: connection timeouts by the million, O(1) to arm and to cancel.
//
// Hierarchical timing wheel, scheme 7 of G. Varghese and T. Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987.
// A timer further away lies on a coarser wheel and is dealt out to a finer one when its slot comes round, so it fires
// within one granule however far it was. (kernel/time/timer.c gave up dealing out and lives with timers 12.5 % late;
// our timers are few enough to stay exact: each is dealt out at most four times.)
//
//     level 0   [0|1|2|...|63]   slot = 64 ms       fires
//     level 1   [0|1|2|...|63]   slot = 4.1 s       deals out to level 0 when level 0 comes round to 0
//     level 2   [0|1|2|...|63]   slot = 4.4 min     ... to level 1 and 0
//     level 3   [0|1|2|...|63]   slot = 4.7 h
//     level 4   [0|1|2|...|63]   slot = 12.4 days   what is beyond 2.2 years is dealt out to this level again
//
//     occupied_[level]: one bit per slot that is not empty, so empty time is skipped with one instruction per level.
//
// It is told the time and never asks. Thread rule: single-threaded. Lifetime rule: a node that is armed must be
// cancelled before its memory goes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace ringway {

struct TimerNode {
  TimerNode* prev = nullptr;
  TimerNode* next = nullptr;
  uint64_t deadline_ms = 0;

  bool armed() const { return next != nullptr; }
};

class TimingWheel {
 public:
  static constexpr uint64_t kNever = UINT64_MAX;
  static constexpr uint32_t kDefaultGranuleMs = 64;

  // granule_ms is a power of two. Times are milliseconds of one clock that never runs backwards.
  explicit TimingWheel(uint64_t now_ms, uint32_t granule_ms = kDefaultGranuleMs);
  TimingWheel(const TimingWheel&) = delete;
  TimingWheel& operator=(const TimingWheel&) = delete;

  // An armed node is moved. A deadline that has passed fires at the next granule; kNever never fires, and is not armed.
  void Arm(TimerNode& node, uint64_t deadline_ms);
  // A no-op where the node is not armed.
  void Cancel(TimerNode& node);

  // Calls callback(TimerNode&) for each node whose deadline has come, granule by granule in order: never before it, and
  // at the first Advance at or after the granule's end. The node is disarmed first: the callback may arm, cancel or
  // free any node, its own included. Not to be called from a callback. A time before the last one is taken as the last
  // one.
  template <typename Callback>
  void Advance(uint64_t now_ms, Callback&& callback);

  // The time at which Advance should be called next, at most one granule after the earliest deadline; kNever when
  // nothing is armed. It may be early, when a coarse slot must be dealt out first.
  uint64_t NextDeadline() const;

  size_t size() const { return size_; }

 private:
  static constexpr uint32_t kLevels = 5;
  static constexpr uint32_t kSlotBits = 6;
  static constexpr uint32_t kSlots = 1 << kSlotBits;
  static constexpr uint64_t kSlotMask = kSlots - 1;
  static constexpr uint64_t kHorizonTicks = uint64_t{1} << (kSlotBits * kLevels);
  // The list of nodes whose slot has come; behind the slots so that one array holds every list.
  static constexpr uint32_t kFiring = kLevels * kSlots;

  // Ticks are granules. A deadline's tick is rounded up (never early), the time's is rounded down.
  uint64_t DeadlineTick(uint64_t deadline_ms) const;
  uint64_t NextEventTick() const;
  // Puts the node on the wheel for `tick`, which is at or after current_tick_.
  void Insert(TimerNode& node, uint64_t tick);
  void Unlink(TimerNode& node);
  // Moves to `tick` and collects what is due there in the firing list.
  void StepTo(uint64_t tick);
  void DealOut(uint32_t level);
  TimerNode* TakeFiring();

  const uint32_t granule_shift_;
  uint64_t current_tick_;
  size_t size_ = 0;
  std::array<uint64_t, kLevels> occupied_ = {};
  std::array<TimerNode, kFiring + 1> lists_;  // circular, each entry is the head of its list
};

template <typename Callback>
void TimingWheel::Advance(uint64_t now_ms, Callback&& callback) {
  const uint64_t now_tick = now_ms >> granule_shift_;
  while (current_tick_ < now_tick) {
    const uint64_t event_tick = NextEventTick();
    if (event_tick > now_tick) {
      current_tick_ = now_tick;
      return;
    }
    StepTo(event_tick);
    while (TimerNode* node = TakeFiring()) callback(*node);
  }
}

}  // namespace ringway
