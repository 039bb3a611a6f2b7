// The memory that one reactor and JavaScript share, word by word. src/engine/native.ts holds the same numbers.
//
// JavaScript allocates it (an ArrayBuffer each for control, descriptors, bytes, commands and progress), so that nothing
// here depends on what an addon may allocate for it. Positions are monotonic u32; the place in a ring is position &
// mask.
//
//   events up                                            commands down
//   descriptors: | kind | connection | position | length |   words: | kind<<24 | words | slot | generation | … |
//   bytes:       | frame | frame | …   | receive buffers |
//
// Each control word has a cache line of its own: the two sides write different lines.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ringway {

enum class ControlWord : uint32_t {
  kEventHead = 0,         // descriptors published; written by the reactor
  kEventTail = 16,        // descriptors consumed; written by JavaScript
  kBytesTail = 32,        // bytes released; written by JavaScript
  kCommandHead = 48,      // words published; written by JavaScript
  kCommandTail = 64,      // words consumed; written by the reactor
  kJsSleeping = 80,       // 1: JavaScript waits for the doorbell
  kReactorSleeping = 96,  // 1: the reactor waits for its eventfd
  kWords = 112,
};

enum class EventKind : uint32_t {
  kFrame = 1,       // position, length: the frame's bytes in the ring
  kLargeFrame = 2,  // position: a LargeFrameEvent in the ring
  kOpen = 3,        // position: an OpenEvent in the ring
  kEnd = 4,
  kDrain = 5,
  kIdle = 6,
  kClose = 7,           // position: a CloseEvent in the ring
  kListenerClosed = 8,  // connection: the listener's id
  kStopped = 9,         // the reactor has closed everything
  kFinish = 16,         // the FIN that was asked for has left
  kDetached = 17,       // position: a DetachedEvent; kClose follows where it succeeded
  kHeldFrame = 18,      // position: a HeldFrameEvent in the ring
  kFault = 10,          // position: a FaultEvent; the peer's input is over, JavaScript closes after its answers
};

struct Descriptor {
  uint32_t kind;
  uint32_t slot;
  uint32_t position;
  uint32_t length;
};

struct OpenEvent {
  uint32_t generation;
  uint32_t listener;  // 0: outgoing, `token` says which
  uint32_t token;
  uint32_t port;
  uint32_t address_length;
  char address[108];
};

struct CloseEvent {
  uint32_t reason;
  int32_t error;      // errno, 0: none
  uint32_t sent_low;  // bytes handed to the kernel
  uint32_t sent_high;
  uint32_t declared_low;  // of a frame that was refused
  uint32_t declared_high;
  uint32_t limit_low;
  uint32_t limit_high;
  uint32_t token;         // of an outgoing connection that never opened
  uint32_t opened;        // 1: an OpenEvent came before
  uint32_t call;          // a SystemCall
  uint32_t received_low;  // bytes read from the socket
  uint32_t received_high;
  uint32_t behind_bytes;  // 1: the read that failed found bytes first, in the same turn
};

// The system call whose error ended a connection.
enum class SystemCall : uint32_t { kNone = 0, kConnect = 1, kBind = 2, kRead = 3, kWrite = 4 };

struct FaultEvent {
  uint32_t reason;
};

struct DetachedEvent {
  int32_t fd;           // JavaScript's from now on; -1: it stays with the connection, which goes on
  uint32_t held_bytes;  // of an incomplete frame, which is why
};

struct LargeFrameEvent {
  uint32_t block_low;  // a Block*, with a reference that is JavaScript's from now on; 0: it is JavaScript's own memory
  uint32_t block_high;
  uint32_t offset;
  uint32_t length;
  uint32_t landing;  // what JavaScript called that memory; kWantsLanding: for want of any of it this is a block
};

// A frame that lies in a receive buffer, which is the driver's again when the event's own bytes are released.
struct HeldFrameEvent {
  uint32_t place;  // in the shared bytes: kEventBytes or more
  uint32_t length;
};

inline constexpr uint32_t kNoLanding = UINT32_MAX;
inline constexpr uint32_t kWantsLanding = UINT32_MAX - 1;

enum class CommandKind : uint32_t {
  kWrap = 0,  // the rest of the ring is unused
  kSend = 1,  // parts, each of inline bytes and then bytes of some reactor's event ring
  kSendBlock = 2,
  kClose = 3,
  kAbort = 4,
  kShutdown = 5,
  kPause = 6,
  kResume = 7,
  kWantDrain = 8,
  kDestroy = 9,
  kSendPinned = 10,  // bytes of JavaScript's own memory, which stays until they were taken
  kDetach = 11,
  kReset = 12,  // kDestroy, and the descriptor's closing resets
};

inline constexpr uint32_t kCommandKindShift = 24;
inline constexpr uint32_t kCommandSizeMask = (1u << kCommandKindShift) - 1;

// What every command begins with; `words` counts the whole command.
struct CommandHeader {
  uint32_t words_and_kind;  // words | kind << kCommandKindShift
  uint32_t slot;
  uint32_t generation;
};

struct SendPart {
  uint32_t inline_length;
  uint32_t reactor;  // in whose shared bytes those that are passed on lie
  uint32_t place;
  uint32_t length;  // 0: nothing is passed on
  // inline bytes follow, padded to a word
};

// Further parts follow the first to the command's end: JavaScript joins what it sends to one connection in a row.
struct SendCommand {
  CommandHeader header;
  SendPart first;
};

struct SendBlockCommand {
  CommandHeader header;
  uint32_t inline_length;
  uint32_t block_low;
  uint32_t block_high;
  uint32_t offset;
  uint32_t length;
  // inline bytes follow
};

struct SendPinnedCommand {
  CommandHeader header;
  uint32_t address_low;
  uint32_t address_high;
  uint32_t length;
};

struct CloseCommand {
  CommandHeader header;
  uint32_t reason;
};

// Raised when a word, an event or a command changes its meaning.
inline constexpr uint32_t kLayoutVersion = 8;
inline constexpr uint32_t kEventDescriptors = 16384;        // 256 KB
inline constexpr uint32_t kEventBytes = 1u << 20;           // 1 MB: 16 of the largest inline frames
inline constexpr uint32_t kReceiveBytes = 1024 * 273 * 64;  // 17 MB behind them: a driver's receive buffers, see there
inline constexpr uint32_t kCommandWords = 1u << 17;         // 512 KB: walked through in order, and within L2
inline constexpr uint32_t kSlots = 1u << 18;                // connections of one reactor
inline constexpr uint32_t kReservedDescriptors = 1024;      // kept for opens, ends, drains and closes
inline constexpr uint32_t kReservedBytes = 128 * 1024;

inline uint32_t Low(uint64_t value) { return static_cast<uint32_t>(value); }
inline uint32_t High(uint64_t value) { return static_cast<uint32_t>(value >> 32); }
inline uint64_t Join(uint32_t low, uint32_t high) { return uint64_t{low} | (uint64_t{high} << 32); }

}  // namespace ringway
