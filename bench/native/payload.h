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
  explicit PayloadPattern(size_t size) : size_(size), pattern_(size + kOffsets) {
    uint32_t state = 0x9e3779b9;
    for (uint8_t& byte : pattern_) {
      state ^= state << 13, state ^= state >> 17, state ^= state << 5;  // xorshift32 (Marsaglia 2003)
      byte = static_cast<uint8_t>(state);
    }
  }

  size_t size() const { return size_; }

  void Write(uint8_t* at, uint32_t connection, uint32_t sequence) const {
    WriteU32(at, connection);
    WriteU32(at + 4, sequence);
    std::memcpy(at + 8, Stretch(connection, sequence), size_ - 8);
  }

  bool Matches(const uint8_t* at, uint32_t connection, uint32_t sequence) const {
    return ReadU32(at) == connection && ReadU32(at + 4) == sequence &&
           std::memcmp(at + 8, Stretch(connection, sequence), size_ - 8) == 0;
  }

 private:
  static constexpr size_t kOffsets = 256;

  const uint8_t* Stretch(uint32_t connection, uint32_t sequence) const {
    return pattern_.data() + (connection * 31 + sequence) % kOffsets;
  }

  size_t size_;
  std::vector<uint8_t> pattern_;
};

}  // namespace ringway::bench
