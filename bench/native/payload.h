// What is sent, and how an answer is recognised: the payload names its connection and its sequence number, and the rest
// is a stretch of a fixed pattern whose place depends on both. An answer that was cut, mixed up or given to another
// differs.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

namespace ringway::bench {

inline void WriteU16(uint8_t* at, uint16_t value) {
  value = __builtin_bswap16(value);
  std::memcpy(at, &value, 2);
}

inline void WriteU32(uint8_t* at, uint32_t value) {
  value = __builtin_bswap32(value);
  std::memcpy(at, &value, 4);
}

inline uint32_t ReadU32(const uint8_t* at) {
  uint32_t value;
  std::memcpy(&value, at, 4);
  return __builtin_bswap32(value);
}

class PayloadPattern {
 public:
  static constexpr size_t kTagBytes = 8;

  explicit PayloadPattern(size_t largest) : pattern_(largest + kOffsets) {
    uint32_t state = 0x9e3779b9;
    for (uint8_t& byte : pattern_) {
      state ^= state << 13, state ^= state >> 17, state ^= state << 5;  // xorshift32 (Marsaglia 2003)
      byte = static_cast<uint8_t>(state);
    }
  }

  static void WriteTag(uint8_t* at, uint32_t connection, uint32_t sequence) {
    WriteU32(at, connection);
    WriteU32(at + 4, sequence);
  }

  // What follows the tag. It stays where it is as long as the pattern lives.
  const uint8_t* Stretch(uint32_t connection, uint32_t sequence) const {
    return pattern_.data() + (connection * 31 + sequence) % kOffsets;
  }

  void Write(uint8_t* at, size_t size, uint32_t connection, uint32_t sequence) const {
    WriteTag(at, connection, sequence);
    std::memcpy(at + kTagBytes, Stretch(connection, sequence), size - kTagBytes);
  }

 private:
  static constexpr size_t kOffsets = 256;

  std::vector<uint8_t> pattern_;
};

}  // namespace ringway::bench
