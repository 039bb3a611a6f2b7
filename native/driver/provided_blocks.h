// A ring of receive buffers that are blocks, so that what a connection receives can be handed over without a copy: a
// block that somebody keeps is replaced by another one. For raw connections; frames are cut from ProvidedBuffers.
//
// Lifetime rule: a block is in exactly one place: with the kernel, handed out by a completion until it is returned, or
// detached, and then its new owner's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "buffer/block.h"
#include "buffer/landing.h"
#include "driver/uring_ring.h"

namespace ringway {

class ProvidedBlocks {
 public:
  static constexpr uint16_t kGroup = 1;
  // In the ids of completions' buffers: one of these, not one of ProvidedBuffers.
  static constexpr uint32_t kIdBit = 0x8000;

  ProvidedBlocks() = default;
  ProvidedBlocks(const ProvidedBlocks&) = delete;
  ProvidedBlocks& operator=(const ProvidedBlocks&) = delete;
  ~ProvidedBlocks();  // after the ring was closed

  // count is a power of two, at most 32768. Returns 0 or a negative errno.
  int Open(UringRing* ring, Landing* landing, uint32_t count, uint32_t block_bytes);
  bool IsOpen() const { return entries_ != nullptr; }

  const uint8_t* Data(uint32_t id) const { return blocks_[id & ~kIdBit]->data(); }
  // The block is the caller's; another takes its place when the id is returned.
  Block* Detach(uint32_t id);
  // Takes a buffer back; the kernel sees it after Publish.
  void Return(uint32_t id);
  // As ProvidedBuffers does: only part of the blocks circulates, more join while that part runs short; fewer of those
  // that are filled.
  void Publish(bool starved);
  // With the kernel, handed out, or waiting for memory.
  uint32_t circulating() const { return circulating_; }

 private:
  bool Add(uint32_t index);
  void Circulate(uint32_t target);

  Landing* landing_ = nullptr;
  void* entries_ = nullptr;
  size_t entries_bytes_ = 0;
  uint32_t count_ = 0;
  uint32_t block_bytes_ = 0;
  uint32_t circulating_ = 0;
  uint32_t returned_ = 0;  // since the last Publish
  uint32_t detached_ = 0;  // of them
  uint16_t tail_ = 0;
  std::vector<Block*> blocks_;            // by index; nullptr: none yet, or detached
  std::vector<uint32_t> resting_;         // by index: they do not circulate
  std::vector<uint32_t> without_memory_;  // to be added when there is memory again
};

}  // namespace ringway
