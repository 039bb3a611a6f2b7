// What the bench's programs need of RMP; docs/PROTOCOL.md has all of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "payload.h"

namespace ringway::bench::rmp {

inline constexpr size_t kHeaderBytes = 16;
inline constexpr size_t kHeaderAfterLength = 12;
inline constexpr size_t kHelloBytes = 14;

inline constexpr uint8_t kRequest = 1;
inline constexpr uint8_t kResponse = 2;
inline constexpr uint8_t kCancel = 3;
inline constexpr uint8_t kPing = 6;
inline constexpr uint8_t kPong = 7;
inline constexpr uint8_t kHello = 9;
inline constexpr uint8_t kWindow = 10;
inline constexpr uint8_t kFirstIgnored = 128;

inline constexpr uint8_t kMore = 1;
inline constexpr uint8_t kNoReply = 2;

inline constexpr uint32_t kOk = 0;
inline constexpr uint32_t kCancelled = 1;

struct Header {
  uint8_t kind = 0;
  uint8_t flags = 0;
  uint16_t route = 0;
  uint32_t id = 0;
  uint32_t arg = 0;
  size_t payload_bytes = 0;
};

inline void Write(uint8_t* at, const Header& header) {
  WriteU32(at, static_cast<uint32_t>(kHeaderAfterLength + header.payload_bytes));
  at[4] = header.kind;
  at[5] = header.flags;
  WriteU16(at + 6, header.route);
  WriteU32(at + 8, header.id);
  WriteU32(at + 12, header.arg);
}

}  // namespace ringway::bench::rmp
