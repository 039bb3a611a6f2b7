// A ring of receive buffers that the kernel picks from (a plain one: incremental consumption is off, see the driver's
// notes).
//
// Lifetime rule: a buffer is in exactly one place: with the kernel, or handed out by a completion until it is returned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "driver/uring_ring.h"

namespace ringway {

class ProvidedBuffers {
 public:
  static constexpr uint16_t kGroup = 0;

  ProvidedBuffers() = default;
  ProvidedBuffers(const ProvidedBuffers&) = delete;
  ProvidedBuffers& operator=(const ProvidedBuffers&) = delete;
  ~ProvidedBuffers();  // after the ring was closed

  // count is a power of two, at most 32768. `shared` is the buffers' memory where it is large enough; otherwise memory
  // is reserved. It is touched only when bytes arrive in it. Returns 0 or a negative errno.
  int Open(UringRing* ring, uint32_t count, uint32_t buffer_bytes, std::span<uint8_t> shared);

  const uint8_t* Data(uint32_t buffer) const { return memory_ + size_t{buffer} * buffer_bytes_; }
  bool IsShared() const { return own_ == nullptr; }
  bool Contains(const uint8_t* bytes) const { return static_cast<size_t>(bytes - memory_) < memory_bytes_; }
  uint32_t BufferOf(const uint8_t* bytes) const { return static_cast<uint32_t>((bytes - memory_) / buffer_bytes_); }

  // Takes a buffer back; the kernel sees it after Publish.
  void Return(uint32_t buffer);
  // One publication for all of them. `starved`: some receive found no buffer since the last time.
  //
  // Only part of the buffers circulates, and more join while that part runs short: the kernel takes them in turn, so
  // that the smaller the circle, the more of it stays in the cache.
  void Publish(bool starved);
  // With the kernel, or handed out.
  uint32_t circulating() const { return circulating_; }

 private:
  void Add(uint32_t buffer);

  uint8_t* memory_ = nullptr;
  void* own_ = nullptr;  // the same, where it is not shared
  size_t memory_bytes_ = 0;
  void* entries_ = nullptr;
  size_t entries_bytes_ = 0;
  uint32_t count_ = 0;
  uint32_t buffer_bytes_ = 0;
  uint32_t circulating_ = 0;
  uint32_t returned_ = 0;  // since the last Publish
  uint16_t tail_ = 0;
};

}  // namespace ringway
