// JavaScript's side of one reactor's rings, written in C++: allocates the shared memory, takes events, gives bytes back
// and writes commands, word for word as src/engine/native-engine.ts, reactor-rings.ts and command-ring.ts do.
//
// Thread rule: one thread; the doorbell alone may be rung from the reactor's.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/shared_layout.h"
#include "base/tables.gen.h"
#include "buffer/block.h"
#include "reactor.h"

namespace ringway::test {

// Wakes the thread that plays JavaScript; one for all its reactors, as Node's loop is.
class Doorbell {
 public:
  void Ring() {
    const std::lock_guard lock(mutex_);
    rung_ = true;
    condition_.notify_one();
  }
  // Until it was rung since the last Wait. False: a wake-up was lost (the guard's time has passed).
  bool Wait();

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool rung_ = false;
};

// Zeroed memory that costs nothing until it is touched, as an ArrayBuffer's.
template <typename T>
class ZeroedArray {
 public:
  explicit ZeroedArray(size_t count) : data_(static_cast<T*>(std::calloc(count, sizeof(T)))) {}
  T* data() const { return data_.get(); }
  T& operator[](size_t index) const { return data_.get()[index]; }

 private:
  struct Free {
    void operator()(T* data) const { std::free(data); }
  };
  std::unique_ptr<T, Free> data_;
};

// A connection as JavaScript knows it.
struct JsConnection {
  uint32_t slot = 0;
  uint32_t generation = 0;
  uint32_t listener = 0;
  uint32_t token = 0;
  uint32_t port = 0;
  std::string address;
  std::vector<std::string> frames;
  size_t large_frames = 0;
  size_t bytes = 0;  // of all frames
  int ends = 0;
  int drains = 0;
  int finishes = 0;  // FINs sent
  int idles = 0;
  std::vector<DetachedEvent> detached;  // a descriptor in it is the test's to close
  int faults = 0;                       // the connection was told to close, for the fault's reason
  bool closed = false;
  CloseEvent close = {};

  CloseReason reason() const { return static_cast<CloseReason>(close.reason); }
  uint64_t sent() const { return Join(close.sent_low, close.sent_high); }
};

class JsSide {
 public:
  // A frame within the shared bytes (or a block): where it lies, for SendReceived and SendBlock.
  struct Frame {
    JsConnection& connection;
    std::string_view bytes;
    uint32_t place = 0;
    Block* block = nullptr;  // of a large frame; borrowed
    uint32_t offset = 0;
  };
  using OnFrame = std::function<void(const Frame&)>;

  explicit JsSide(uint32_t reactor_index = 0) : reactor_(reactor_index) {}
  ~JsSide();
  JsSide(const JsSide&) = delete;
  JsSide& operator=(const JsSide&) = delete;

  ReactorMemory memory();
  // Called for each frame instead of keeping its bytes.
  OnFrame on_frame;

  // Takes at most `budget` events, publishes the commands given meanwhile, and gives the bytes back unless `release` is
  // false or commands refer to them. Answers how many it took.
  size_t Take(size_t budget = limits::drain_frames, bool release = true);
  // Bytes that waited for the reactor to take the commands that refer to them.
  void ReleaseTaken();
  bool HasEvents() const;
  // Before it waits for the doorbell.
  void Sleep() { Control(ControlWord::kJsSleeping).store(1, std::memory_order_seq_cst); }

  // --- commands, visible to the reactor with Publish
  void Send(const JsConnection& to, std::string_view bytes);
  void SendReceived(const JsConnection& to, std::string_view header, uint32_t reactor, uint32_t place, uint32_t length);
  // Takes over one reference.
  void SendBlock(const JsConnection& to, std::string_view header, Block* block, uint32_t offset, uint32_t length);
  // The bytes stay as they are until they were taken (Progress) or the connection is closed.
  void SendPinned(const JsConnection& to, const uint8_t* bytes, uint32_t length);
  void Simple(CommandKind kind, const JsConnection& to, uint32_t argument = 0);
  void Close(const JsConnection& to, CloseReason reason = CloseReason::kClosed) {
    Simple(CommandKind::kClose, to, static_cast<uint32_t>(reason));
  }
  void Abort(const JsConnection& to) { Simple(CommandKind::kAbort, to, static_cast<uint32_t>(CloseReason::kAborted)); }
  void Shutdown(const JsConnection& to) { Simple(CommandKind::kShutdown, to); }
  void Pause(const JsConnection& to) { Simple(CommandKind::kPause, to); }
  void Resume(const JsConnection& to) { Simple(CommandKind::kResume, to); }
  void WantDrain(const JsConnection& to) { Simple(CommandKind::kWantDrain, to); }
  void Publish();
  bool HasSpilled() const { return !spilled_.empty(); }
  // Everything that was published has been taken by the reactor.
  bool CommandsTaken() const;
  // Once they are: their memory is written again.
  void ScribbleCommands();

  // Memory to receive long chunks into, 64 KB each; the reactor's driver must be offered it by its index here.
  std::vector<std::unique_ptr<uint8_t[]>> landings;

  // --- what was seen
  std::vector<std::unique_ptr<JsConnection>> connections;  // in the order they opened; closed ones stay
  std::vector<CloseEvent> unopened;                        // closes of outgoing connections that never opened
  std::vector<uint32_t> listeners_closed;
  int stopped = 0;
  uint64_t frames = 0;
  uint64_t held_frames = 0;      // of them, those that came as they lay in a receive buffer
  std::vector<uint32_t> landed;  // landings that were told of as received

  JsConnection& Last() { return *connections.back(); }
  JsConnection* AtSlot(uint32_t slot) const;
  uint32_t Progress(const JsConnection& connection) const { return progress_[connection.slot]; }
  std::atomic_ref<uint32_t> Control(ControlWord word) const {
    return std::atomic_ref<uint32_t>(control_[static_cast<uint32_t>(word)]);
  }

 private:
  void TakeOne(const Descriptor& descriptor);
  void TakeFrame(const Descriptor& descriptor);
  void TakeHeldFrame(const Descriptor& descriptor);
  void TakeFrameAt(uint32_t slot, uint32_t place, uint32_t length);
  void TakeLargeFrame(const Descriptor& descriptor);
  void TakeOpen(const Descriptor& descriptor);
  void TakeClose(const Descriptor& descriptor);
  void TakeFault(const Descriptor& descriptor);
  template <typename T>
  T Body(const Descriptor& descriptor) const;
  const uint8_t* At(uint32_t position) const { return &bytes_[position & (kEventBytes - 1)]; }

  // Answers the place of `words` contiguous words, or -1.
  int64_t Reserve(uint32_t words);
  // Into the ring; false: there is no room, or others wait for it.
  bool Place(const std::vector<uint32_t>& command);
  void Write(const std::vector<uint32_t>& command);
  static std::vector<uint32_t> Command(CommandKind kind, const JsConnection& to, const std::vector<uint32_t>& fields,
                                       std::string_view inline_bytes);
  void Wrap(uint32_t place);

  const uint32_t reactor_;
  const ZeroedArray<uint32_t> control_{static_cast<size_t>(ControlWord::kWords)};
  const ZeroedArray<Descriptor> descriptors_{kEventDescriptors};
  const ZeroedArray<uint8_t> bytes_{kEventBytes + kReceiveBytes};
  const ZeroedArray<uint32_t> words_{kCommandWords};
  const ZeroedArray<uint32_t> progress_{kSlots};
  uint32_t tail_ = 0;
  uint32_t position_ = 0;
  uint32_t command_head_ = 0;
  uint32_t command_tail_ = 0;
  bool passed_on_ = false;
  std::deque<std::pair<uint32_t, uint32_t>> releases_;  // position, command head
  std::deque<std::vector<uint32_t>> spilled_;
  std::map<uint32_t, JsConnection*> by_slot_;
};

}  // namespace ringway::test
