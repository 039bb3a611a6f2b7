// Commands on their way down from JavaScript. Thread rule: all methods belong to the reactor's thread; JavaScript is
// the only producer.
#pragma once

#include <atomic>

#include "base/check.h"
#include "base/shared_layout.h"

namespace ringway {

class CommandRing {
 public:
  CommandRing(uint32_t* control, const uint32_t* words) : control_(control), words_(words) {}
  CommandRing(const CommandRing&) = delete;
  CommandRing& operator=(const CommandRing&) = delete;

  bool Empty() const { return Head() == Tail(); }

  // Calls run(kind, header) for each command, then settle(). When it returns, the memory is JavaScript's again: that of
  // the commands, and what of the event rings they pass on.
  template <typename Run, typename Settle>
  void TakeAll(Run&& run, Settle&& settle) {
    const uint32_t head = Head();
    uint32_t tail = Tail();
    if (head == tail) return;
    while (tail != head) {
      const uint32_t* at = words_ + (tail & (kCommandWords - 1));
      const uint32_t words = at[0] & kCommandSizeMask;
      const auto kind = static_cast<CommandKind>(at[0] >> kCommandKindShift);
      CHECK(words > 0 && words <= head - tail);
      if (kind != CommandKind::kWrap) run(kind, at);
      tail += words;
    }
    settle();
    std::atomic_ref<uint32_t>(control_[static_cast<uint32_t>(ControlWord::kCommandTail)])
        .store(tail, std::memory_order_release);
  }
  template <typename Run>
  void TakeAll(Run&& run) {
    TakeAll(run, [] {});
  }

 private:
  // Ours alone, but where both sides share a thread: JavaScript then moves both ends of an empty ring to its start.
  uint32_t Tail() const {
    return std::atomic_ref<uint32_t>(control_[static_cast<uint32_t>(ControlWord::kCommandTail)])
        .load(std::memory_order_relaxed);
  }

  uint32_t Head() const {
    return std::atomic_ref<uint32_t>(control_[static_cast<uint32_t>(ControlWord::kCommandHead)])
        .load(std::memory_order_seq_cst);
  }

  uint32_t* const control_;
  const uint32_t* const words_;
};

}  // namespace ringway
