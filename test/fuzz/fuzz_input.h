// A fuzzer's bytes, read from the front. What is read past their end is zero, so that every input means something.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace ringway::test {

class FuzzInput {
 public:
  FuzzInput(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}

  bool empty() const { return rest_.empty(); }
  std::string_view rest() const { return rest_; }

  uint8_t U8() {
    if (rest_.empty()) return 0;
    const auto byte = static_cast<uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return byte;
  }
  uint16_t U16() {
    const uint16_t low = U8();
    return static_cast<uint16_t>(low | U8() << 8);
  }
  uint32_t U32() {
    const uint32_t low = U16();
    return low | uint32_t{U16()} << 16;
  }
  bool Flag() { return (U8() & 1) != 0; }
  // In [0, limit).
  uint32_t Below(uint32_t limit) { return limit <= 256 ? U8() % limit : U16() % limit; }
  std::string_view Bytes(size_t count) {
    const std::string_view bytes = rest_.substr(0, count);
    rest_.remove_prefix(bytes.size());
    return bytes;
  }

 private:
  std::string_view rest_;
};

// A promise that was not kept: the fuzzer, and a replay, end here and keep the input.
#define FUZZ_REQUIRE(condition, ...)                                       \
  do {                                                                     \
    if (!(condition)) [[unlikely]] {                                       \
      std::fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition); \
      std::fprintf(stderr, __VA_ARGS__);                                   \
      std::fputc('\n', stderr);                                            \
      std::abort();                                                        \
    }                                                                      \
  } while (false)

}  // namespace ringway::test

// What each target defines.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
