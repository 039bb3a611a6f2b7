// Whoever has operations in flight: a connection, a listener. The reactor knows owners and operations, not what they
// are.
//
// Lifetime rule: an owner is unregistered only when none of its operations is in flight, and freed at the end of the
// tick (Reactor::FreeLater), so that nothing on the way to it finds freed memory.
#pragma once

#include <cstdint>
#include <span>

#include "base/intrusive_list.h"
#include "base/shared_layout.h"
#include "driver/driver.h"
#include "framer/framer.h"
#include "timer/timing_wheel.h"

namespace ringway {

struct ByDirty;
struct ByReady;

class OperationOwner : public ListNode<ByDirty>, public ListNode<ByReady>, public TimerNode {
 public:
  virtual ~OperationOwner() = default;

  virtual void OnCompletion(Completion& completion) = 0;
  // The owner's timer in the reactor's wheel has come.
  virtual void OnTimer(uint64_t now_ms) = 0;
  // Once per turn after MarkDirty: a place to start operations.
  virtual void Flush() {}
  // Once per turn after MarkReady: input that was left over for want of credit or room.
  virtual void Resume() {}
  virtual void OnCommand(CommandKind, const uint32_t* /*words*/) {}
  // After MarkStarved. Whether a receive was started.
  virtual bool RestartReceive() { return false; }
  // Once after commands that lent it memory, while that memory is still unchanged.
  virtual void SettleLent() {}
  // Bytes of somebody else's, and what was queued before them: to the kernel, as much as it takes at once.
  virtual void SendNow(std::span<const uint8_t>, bool /*keep*/) {}
  // From its next frame on it is cut so.
  virtual void SetFraming(const FramingOptions&) {}
  // JavaScript no longer wants the outgoing connection that it called so.
  virtual void OnAbandoned(uint32_t /*token*/) {}
  // The engine closes: end everything, at once or (graceful) when what is queued has been sent, and unregister when the
  // last operation is over. Called again for what is still there.
  virtual void Shut(bool graceful) = 0;

  uint32_t slot() const { return slot_; }
  uint32_t generation() const { return generation_; }
  UserData Data(Op op) const { return {slot_, generation_, op}; }

 private:
  friend class Reactor;
  uint32_t slot_ = 0;
  uint32_t generation_ = 0;
};

}  // namespace ringway
