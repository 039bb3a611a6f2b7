// The only packer of user_data: {slot, generation, op} in 64 bits. Completions are matched by it, never by a file
// descriptor, which the kernel reuses at once.
//
//    63        56 55                    32 31                     0
//   +------------+------------------------+------------------------+
//   | op (8)     | generation (24)        | slot (32)              |
//   +------------+------------------------+------------------------+
#pragma once

#include <cstdint>

namespace ringway {

enum class Op : uint8_t {
  kNone = 0,  // nobody waits for it (a cancel's own completion)
  kAccept,
  kConnect,
  kReceive,
  kSend,
  kWatch,
};

struct UserData {
  uint32_t slot = 0;
  uint32_t generation = 0;  // 24 bits
  Op op = Op::kNone;

  static constexpr uint32_t kGenerationMask = 0xffffff;

  constexpr uint64_t Pack() const {
    return uint64_t{slot} | (uint64_t{generation & kGenerationMask} << 32) | (uint64_t{static_cast<uint8_t>(op)} << 56);
  }
  static constexpr UserData Unpack(uint64_t bits) {
    return {static_cast<uint32_t>(bits), static_cast<uint32_t>(bits >> 32) & kGenerationMask,
            static_cast<Op>(bits >> 56)};
  }
  friend constexpr bool operator==(const UserData&, const UserData&) = default;
};

static_assert(UserData::Unpack(UserData{7, 9, Op::kSend}.Pack()) == UserData{7, 9, Op::kSend});

}  // namespace ringway
